/** Do `work` now and again after `seconds`, while the page is to be seen, until it returns false. Errors are told, and it goes on. */
export async function keepDoing(work, seconds, onError) {
  for (;;) {
    if (!document.hidden) {
      try {
        if ((await work()) === false) return;
      } catch (error) {
        onError(error);
        if (error.status >= 400 && error.status < 500) return;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}

/** Replace what is in `box`, but leave the focus, what is scrolled and what is unfolded where it was. */
export function redraw(box, ...children) {
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const folded = new Map([...box.querySelectorAll("details[data-key]")].map((each) => [each.dataset.key, each.open]));
  const scrolled = new Map([...box.querySelectorAll("[data-scroll]")].map((each) => [each.dataset.scroll, each.scrollTop]));
  box.replaceChildren(...children.flat(Infinity).filter(Boolean));
  for (const each of box.querySelectorAll("details[data-key]")) {
    if (folded.has(each.dataset.key)) each.open = folded.get(each.dataset.key);
  }
  for (const each of box.querySelectorAll("[data-scroll]")) each.scrollTop = scrolled.get(each.dataset.scroll) ?? each.scrollTop;
  if (focused) box.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}
