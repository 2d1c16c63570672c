"""The page in a real browser, inside Airflow's own, with a platform of a thousand components and hostile texts."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.page.browser import WAIT_MS
from tests.page.world import ASKING, DONE, FAILING, HOSTILE
from triplane.sandbox.airflow import LocalAirflow

VIEWS = {
    "overview": "Deployments",
    "approvals": "Approvals",
    f"changes?dag_id=deploy&run_id={ASKING}": "Changes",
    f"rollout?dag_id=deploy&run_id={FAILING}": "Rollout",
    "rollout": "Rollouts",
    "drift": "Drift",
    "history": "History",
}
AXE = """async () => {
  const found = await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]});
  if (found.passes.length < 10) throw new Error("the rules were not run");
  return found.violations.filter((each) => ["serious", "critical"].includes(each.impact))
    .map((each) => `${each.id}: ${each.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(" | ")}`);
}"""
MOVED = """() => new Promise((done) => {
  let sum = 0;
  const add = (list) => list.getEntries().forEach((each) => { sum += each.value; });
  new PerformanceObserver(add).observe({type: "layout-shift", buffered: true});
  setTimeout(() => done(sum), 200);
})"""

Visits = Callable[..., Any]


def test_it_is_in_airflows_navigation_and_links_lead_out_of_its_frame(
    visit: Visits, served: LocalAirflow
) -> None:
    page = visit().page
    page.goto(served.url)
    page.get_by_role("link", name="Deployments").click()
    frame = page.frame_locator("iframe[title=Deployments]")
    frame.get_by_role("heading", name="Deployments").wait_for()
    frame.get_by_role("link", name="Rollouts").click()
    frame.get_by_role("link", name=FAILING).click()
    frame.get_by_role("link", name="Run in Airflow").click()
    page.wait_for_url(f"{served.url}/dags/deploy/runs/{FAILING}**")
    page.goto(f"{served.url}/dags/deploy/runs/{FAILING}/plugin/triplane-rollout")
    page.frame_locator("iframe[title=Rollout]").get_by_text(FAILING).first.wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_view_is_accessible_and_shows_hostile_texts_as_texts(
    visit: Visits, axe: str, theme: str
) -> None:
    window = visit(color_scheme=theme)
    found = {}
    for view, heading in VIEWS.items():
        window.see(view)
        page = window.page
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        assert page.locator("html").get_attribute("data-theme") == theme
        assert page.title().endswith("Deployments")
        assert page.locator("main script, main img").count() == 0
        if view == "overview":  # the rules take half a minute for a thousand rows, and say no more
            page.get_by_label("Component, version or run").fill("service-33")
        page.evaluate(axe)
        found[view] = page.evaluate(AXE)
    assert found == {view: [] for view in VIEWS}


@pytest.mark.parametrize("width", [360, 3840])
def test_nothing_is_cut_off_or_jumps(visit: Visits, width: int) -> None:
    window = visit(viewport={"width": width, "height": 800})
    for view in VIEWS:
        window.see(view)
        wide, moved = (
            window.page.evaluate("document.documentElement.scrollWidth"),
            window.page.evaluate(MOVED),
        )
        assert wide <= width, f"{view} is {wide} wide"
        assert moved < 0.1, f"{view} jumps while it is drawn"


def test_a_thousand_components_are_found_quickly(visit: Visits) -> None:
    window = visit()
    window.see("overview")
    page = window.page
    expect(page.locator("tbody tr th[scope=row]")).to_have_count(1000 - 1000 % 3)
    page.get_by_label("Component, version or run").fill("service-33")
    page.get_by_label("Cloud").select_option("gcp")
    page.get_by_text("2 of 999 components").wait_for()
    page.get_by_label("Show as").select_option("graph")
    page.get_by_role("img", name="Google Cloud: 2 components").wait_for()
    page.get_by_label("Component, version or run").fill("")
    page.get_by_label("State").select_option("failed")
    page.get_by_text("1 of 999 components").wait_for()


def test_five_hundred_resources_are_readable(visit: Visits) -> None:
    window = visit()
    window.see(f"changes?dag_id=deploy&run_id={ASKING}")
    network = window.page.get_by_role("region", name="AWS").locator("details", has_text="aws/stack/network")
    assert "125 to replace" in network.inner_text()
    network.locator("summary").first.click()
    expect(network.locator("li")).to_have_count(60)
    assert HOSTILE in network.locator("li").first.inner_text()
    network.get_by_role("button", name="Show all 1001 lines").click()
    expect(network.locator("li")).to_have_count(1001)
    window.page.get_by_label("Component, resource or field").fill("number[499]")
    expect(window.page.locator(".diff li")).to_have_count(3)
    window.page.get_by_label("Component, resource or field").fill("")
    way_back = window.page.get_by_role("region", name="AWS").locator(
        "details", has_text="What a rollback would do"
    )
    way_back.locator("summary").click()
    way_back.get_by_text("It goes back to revision").wait_for()


def test_two_people_decide(visit: Visits, served: LocalAirflow) -> None:
    alice = visit("alice")
    alice.see("approvals")
    alice.page.get_by_text("You asked for this run, and the policy wants somebody else").wait_for()
    bob = visit("bob")
    bob.see("approvals")
    bob.page.get_by_role("button", name="Approve").click()
    bob.page.get_by_role("alert").get_by_text("wants a reason").wait_for()
    _decide(bob.page, "the tests are green")
    bob.page.get_by_text("You have answered already").wait_for()
    carol = visit("carol")
    carol.see("approvals")
    carol.page.get_by_text("1 of 2 have answered.").wait_for()
    carol.page.get_by_text("bob: Approve: the tests are green").wait_for()
    carol.page.get_by_label("Hold back Azure").check()
    _decide(carol.page, "not Azure today")
    carol.page.get_by_text("Nothing waits for carol").wait_for()
    path = f"/dags/deploy/dagRuns/{ASKING}/hitlDetails"
    answers = {
        each["responded_by_user"]["name"]: each["params_input"]
        for each in served.api().get(path)["hitl_details"]
    }
    assert answers["bob"]["reason"] == "the tests are green"
    assert (answers["bob"]["hold_azure"], answers["carol"]["hold_azure"]) == (False, True)


def _decide(page: Any, reason: str) -> None:
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("dialog").get_by_role("button", name="Approve").click()


def test_a_user_sees_only_the_dags_that_he_may_read(visit: Visits) -> None:
    window = visit("vera")
    window.see("overview")
    addresses = window.page.locator(".group").all_inner_texts()
    assert [text.split(" (")[0] for text in addresses] == ["Google Cloud"]
    window.see(f"changes?dag_id=deploy&run_id={ASKING}")
    window.page.get_by_role("alert").get_by_text("You may not do this.").wait_for()
    window.errors.clear()  # the browser's own word on the 403
    window.see("drift")
    window.page.get_by_text("There is no drift check that you may read").wait_for()
    window.see("history?environment=staging&cloud=aws")
    window.page.get_by_role("alert").get_by_text("there is no staging/aws").wait_for()
    window.errors.clear()


def test_the_history_gives_evidence_and_goes_back(
    visit: Visits, served: LocalAirflow, tmp_path: Path
) -> None:
    window = visit()
    window.see("history?environment=staging&cloud=gcp")
    page = window.page
    with page.expect_download() as download:
        page.get_by_role("row").filter(has_text=f"{DONE}.gcp.apply").first.get_by_text("Evidence").click()
    download.value.save_as(tmp_path / "evidence.zip")
    assert "evidence.md" in zipfile.ZipFile(tmp_path / "evidence.zip").namelist()
    page.get_by_role("button", name="Verify the ledger").click()
    page.get_by_text("The chain of 6 entries holds.").wait_for()
    page.get_by_role("button", name="Roll back to here").last.click()
    page.get_by_role("dialog").get_by_role("button", name="Plan the rollback").click()
    started = page.get_by_role("status").get_by_role("link")
    started.wait_for()
    run = served.api().get(f"/dags/deploy_gcp/dagRuns/{started.inner_text()}")
    assert run["conf"] == {"environment": "staging", "action": "rollback", "to": "manual__0000.gcp.apply"}
    assert run["triggering_user_name"] == "bob"


def test_a_viewer_reads_and_is_told_what_he_may_not_do(visit: Visits) -> None:
    window = visit("vera")
    window.see("history?environment=staging&cloud=gcp")
    window.page.get_by_role("button", name="Roll back to here").last.click()
    window.page.get_by_role("dialog").get_by_role("button", name="Plan the rollback").click()
    window.page.get_by_role("alert").get_by_text("You may not do this.").wait_for()
    window.errors.clear()


def test_it_can_be_used_with_the_keyboard(visit: Visits) -> None:
    window = visit()
    window.see("history?environment=staging&cloud=gcp")
    page = window.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    button = page.get_by_role("button", name="Roll back to here").first
    button.focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    expect(button).to_be_focused()


def test_what_is_refused_is_told_although_the_view_was_drawn_anew(visit: Visits) -> None:
    window = visit()
    window.see(f"rollout?dag_id=deploy&run_id={FAILING}")
    page, held = window.page, []
    page.route("**/clearTaskInstances", lambda route: held.append(route))
    page.get_by_role("button", name="Retry").click()
    with page.expect_request("**/clearTaskInstances"):
        page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    page.get_by_text("Clearing …").wait_for()
    page.locator("button.task").last.click()
    held[0].fulfill(status=409, json={"detail": "it runs already"})
    page.get_by_role("alert").get_by_text("it runs already").wait_for()
    window.errors.clear()  # the browser's own word on the 409


def test_a_failed_task_is_retried(visit: Visits, served: LocalAirflow) -> None:
    window = visit()
    window.see(f"rollout?dag_id=deploy&run_id={FAILING}")
    page = window.page
    page.get_by_role("heading", name="infrastructure, Google Cloud").wait_for()
    page.get_by_role("button", name="Retry").click()
    with page.expect_response("**/clearTaskInstances", timeout=2 * WAIT_MS) as cleared:
        page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    assert cleared.value.ok
    # The parent does not wait for its run any more: it is the one to go on.
    path = f"/dags/deploy/dagRuns/{FAILING}/taskInstances/apply.gcp"
    assert served.api().get(path)["state"] != "failed"
