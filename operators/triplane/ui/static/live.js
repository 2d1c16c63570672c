import { problem, put } from "./dom.js";

/**
 * Do `work` now, and again every so many seconds while the page is to be seen, until it returns false.
 * Returns after the first time. Errors are told; it goes on unless Airflow says that it makes no sense to.
 */
export async function keepDoing(work, seconds, onError) {
  const once = async () => {
    try {
      return (await work()) !== false;
    } catch (error) {
      onError(error);
      return !(error.status >= 400 && error.status < 500);
    }
  };
  const later = async () => {
    if (document.hidden || await once()) setTimeout(later, seconds * 1000);
  };
  if (await once()) setTimeout(later, seconds * 1000);
}

/** Do `work` once: `result` says that it is under way, and then what it returns, or why it failed. */
export async function doOnce(result, underWay, work) {
  put(result, underWay);
  try {
    put(result, await work());
  } catch (error) {
    put(result, problem(error.message));
  }
}

/** Replace what is in `box`, but leave the focus, what is scrolled and what is unfolded where it was. */
export function redraw(box, ...children) {
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const folded = new Map([...box.querySelectorAll("details[data-key]")].map((each) => [each.dataset.key, each.open]));
  const scrolled = new Map([...box.querySelectorAll("[data-scroll]")].map((each) => [each.dataset.scroll, each.scrollTop]));
  put(box, children);
  for (const each of box.querySelectorAll("details[data-key]")) {
    if (folded.has(each.dataset.key)) each.open = folded.get(each.dataset.key);
  }
  for (const each of box.querySelectorAll("[data-scroll]")) each.scrollTop = scrolled.get(each.dataset.scroll) ?? each.scrollTop;
  if (focused) box.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}
