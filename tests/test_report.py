"""The report page in a real browser: without results and with a whole smoke grid, by mouse and keyboard, any width."""

import json
import os
import re
import shutil
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from muppet.result import write
from muppet.runs import Finetune, run_id
from studies.kit import load
from studies.kit.ledger.folder import result_path
from studies.pages.report import page
from studies.recipes import ROBERTA_B, finetunings
from tests.made_results import COMMIT, made, write_results

CHROME = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty checkout: no results, no artifacts."""
    folder, before = tmp_path_factory.mktemp("tree"), os.getcwd()
    patch = pytest.MonkeyPatch()
    patch.setenv("MUPPET_ARTIFACTS", str(folder / "artifacts"))
    os.chdir(folder)
    yield folder
    os.chdir(before)
    patch.undo()


@pytest.fixture(scope="module")
def empty(tree: Path) -> Path:
    return page.write(("paper", "mini"), tree / "empty.html")


@pytest.fixture(scope="module")
def full(tree: Path) -> Path:
    """A page over smoke with every run done but one that failed, one that was edited and one that nobody declares."""
    runs = write_results("smoke")
    mnli = cell_runs("RoBERTa-B", "MNLI")[0]
    path = result_path("smoke", mnli)
    path.write_text(path.read_text().replace('"value": 0.', '"value": 0.9', 1))
    failed = cell_runs("RoBERTa-B", "QQP")[0]
    result_path("smoke", failed).unlink()
    record = tree / "artifacts" / "runs" / run_id(failed)
    record.mkdir(parents=True)
    (record / "failure.json").write_text(json.dumps({"error": "out of memory", "count": 3}))
    dirty = cell_runs("RoBERTa-B", "RTE")[0]
    write(made(dirty, {"rte/validation/accuracy"}, dirty=True), result_path("smoke", dirty))
    stranger = finetunings(ROBERTA_B, dirty.task)[0]
    write(made(stranger, {"rte/validation/accuracy"}), result_path("smoke", stranger))
    assert len(runs) > 400
    return page.write(("smoke",), tree / "full.html")


def cell_runs(row: str, column: str) -> list[Finetune]:
    study = load.load_studies("smoke", ("table3",))["table3"]
    return [
        run for c in study.cells if (c.row, c.column) == (row, column) for run in c.runs if isinstance(run, Finetune)
    ]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Opens a page at a width; `errors()` on the driver gives what the console said."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not CHROME or not DRIVER:
        pytest.skip("needs chromium and chromium-driver (apt-get install chromium chromium-driver)")
    options = selenium.ChromeOptions()
    options.binary_location = CHROME
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(DRIVER))

    def show(path: Path, width: int = 1280, dark: bool = False) -> Any:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})
        driver.get("about:blank")
        driver.get(path.as_uri())
        return driver

    yield show
    driver.quit()


def press(driver: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


def cell(driver: Any, table: str, row: str, column: int) -> Any:
    rows = driver.find_elements("css selector", f"#{table} tbody tr")
    return (
        next(r for r in rows if r.find_element("css selector", "th").text == row)
        .find_elements("css selector", "td")[column]
        .find_element("css selector", ".cell")
    )


def test_the_page_needs_nothing_else(empty: Path) -> None:
    text = empty.read_text(encoding="utf-8")
    for needle in ("http://", 'src="http', '<link rel="stylesheet', "@import", "url("):
        assert needle not in text.replace("http://www.w3.org", ""), needle
    assert "{{" not in text and text.count("<script") == 2


@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("which", ["empty", "full"])
def test_it_fits_the_window_and_the_console_stays_silent(browser, request, which: str, width: int) -> None:
    driver = browser(request.getfixturevalue(which), width)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert driver.get_log("browser") == []
    assert len(driver.find_elements("css selector", ".claim[data-text]")) == 38


def test_before_any_run_it_shows_the_papers_numbers_and_verdicts(browser, empty: Path) -> None:
    driver = browser(empty)
    assert driver.find_element("css selector", "#C1 .verdict").text.endswith("contradicted")
    assert cell(driver, "table3", "RoBERTa-B + MUPPET", 2).text.split()[0] == "87.8"
    cell(driver, "table3", "RoBERTa-B + MUPPET", 2).click()
    text = driver.find_element("id", "panel").text
    assert "make table3 ONLY='RoBERTa-B + MUPPET/RTE' PROFILE=paper" in text and "pending" in text and "60" in text


def test_a_cell_opens_its_runs_and_escape_gives_the_focus_back(browser, full: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    driver = browser(full)
    button = cell(driver, "table3", "RoBERTa-B + MUPPET", 2)
    driver.execute_script("arguments[0].focus()", button)
    press(driver, Keys.ENTER)
    panel = driver.find_element("id", "panel")
    run = cell_runs("RoBERTa-B + MUPPET", "RTE")[0]
    result = made(run, {"rte/validation/accuracy"})
    for part in (
        run_id(run),
        run_id(run.init),
        f"{100 * result.scores['rte/validation/accuracy'].value:.2f}",
        "ab12cd34",
        "512",
        "torch 2.13.0",
        "12.5 s",
        COMMIT[:10],
        "a processor",
        "1 seed",
        "adam_eps",
        "too long 2",
        f"make again PROFILE=smoke RUN={run_id(run)}",
        "87.8",
    ):
        assert part in panel.text, part
    press(driver, Keys.ESCAPE)
    assert not panel.is_displayed() and driver.switch_to.active_element == button


def test_a_cell_has_an_address_and_the_address_opens_it(browser, full: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    driver = browser(full)
    button = cell(driver, "table3", "RoBERTa-B + MUPPET", 2)
    button.click()
    link = driver.current_url
    assert link.endswith("#smoke/table3/RoBERTa-B%20%2B%20MUPPET/RTE/accuracy")
    press(driver, Keys.ESCAPE)
    assert "#" not in driver.current_url
    driver.get("about:blank")
    driver.get(link)
    panel = driver.find_element("id", "panel")
    assert panel.is_displayed() and "RoBERTa-B + MUPPET · RTE · accuracy" in panel.text
    assert driver.get_log("browser") == []


@pytest.mark.parametrize("width", [390, 1440])
def test_table_3_fits_a_desk_and_its_further_columns_unfold(browser, full: Path, width: int) -> None:
    driver = browser(full, width)
    table = driver.find_element("css selector", "#table3 .scroll")

    def over() -> int:
        return driver.execute_script("return arguments[0].scrollWidth - arguments[0].clientWidth", table)

    heads = driver.find_elements("css selector", "#table3 th.beyond")
    assert (width < 500 or over() <= 0) and heads and not any(head.is_displayed() for head in heads)
    assert driver.find_element("css selector", "#table3 thead .pair").is_displayed() == (width > 1000)
    driver.find_element("css selector", "#table3 [data-fold]").click()
    assert all(head.is_displayed() for head in heads) and over() > 0
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_keyboard_walks_the_cells_and_the_focus_is_seen(browser, full: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    driver = browser(full)
    driver.execute_script("arguments[0].focus()", cell(driver, "table3", "RoBERTa-B", 1))
    press(driver, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    here = driver.switch_to.active_element
    assert here == cell(driver, "table3", "RoBERTa-B + MUPPET", 2)
    assert here.get_attribute("aria-label").startswith("RoBERTa-B + MUPPET, RTE, accuracy; paper 87.8; ours ")
    assert here.value_of_css_property("outline-style") == "solid"


def test_outside_the_interval_is_marked_by_sign_as_well_as_colour(browser, full: Path) -> None:
    driver = browser(full)
    low, inside = cell(driver, "table3", "RoBERTa-B", 2), cell(driver, "table4", "RoBERTa-L + MUPPET", 3)
    assert "▼" not in low.text and "below" not in low.get_attribute("class")  # another model: nothing to compare
    for button, bounds in ((low, (0.1, 0.2)), (inside, (0.1, 0.99))):
        compared = "const mine = data.cells[arguments[0].dataset.cell].ours.smoke; mine.compared = true;"
        driver.execute_script(f"{compared} [mine.low, mine.high] = arguments[1]; fill(arguments[0])", button, bounds)
    assert "▼" in low.text and "below" in low.get_attribute("class")
    assert "≈" in inside.text and "inside" in inside.get_attribute("class").split()
    assert low.value_of_css_property("background-color") != cell(
        driver, "table3", "ELECTRA-B", 2
    ).value_of_css_property("background-color")


def test_filter_and_sort(browser, full: Path) -> None:
    driver = browser(full)
    driver.find_element("id", "filter").send_keys("MT-DNN")
    shown = [row.text for row in driver.find_elements("css selector", "#table3 tbody tr") if row.is_displayed()]
    assert len(shown) == 1 and shown[0].startswith("MT-DNN")
    count, head = driver.find_element("id", "count"), driver.find_element("css selector", "#table3 th.beyond")
    assert count.text == "9 cells, 0 claims and 0 decisions match"
    driver.find_element("id", "filter").send_keys("\ue003" * 6)  # backspace
    driver.find_element("id", "filter").send_keys("CoLA, BART")
    assert head.is_displayed() and count.text.startswith("2 cells, ")  # folded away, and nothing else matches
    driver.find_element("id", "filter").clear()
    driver.find_element("id", "filter").send_keys("x\ue003")
    assert not head.is_displayed() and count.text == ""
    driver.find_element("css selector", "#table3 thead th:nth-child(4) button").click()
    head = driver.find_element("css selector", "#table3 thead th:nth-child(4)")
    assert head.get_attribute("aria-sort") == "descending"
    best = driver.execute_script(
        "return data.cells.filter((c) => c.study === 'table3' && c.column === 'RTE' && !c.row.endsWith('(released)'))"
        ".sort((a, b) => (ours(b).value ?? b.paper - 2) - (ours(a).value ?? a.paper - 2)).map((c) => c.row)"
    )
    shown = driver.find_elements("css selector", "#table3 tbody tr th")
    assert [row.text for row in shown] == best and "MUPPET" in best[0] and best[-1] == "ELECTRA-B"


def test_failed_refused_dirty_and_unknown_are_named(browser, full: Path) -> None:
    driver = browser(full)
    for details in driver.find_elements("css selector", ".notice details"):
        details.find_element("css selector", "summary").click()
    notice = driver.find_element("css selector", ".notice").text
    assert "out of memory" in notice and "checksum" in notice and "of runs that no artefact declares" in notice
    assert run_id(cell_runs("RoBERTa-B", "MNLI")[0]) in notice
    assert (
        "failed" in cell(driver, "table3", "RoBERTa-B", 1).text and "†" in cell(driver, "table3", "RoBERTa-B", 2).text
    )
    cell(driver, "table3", "RoBERTa-B", 2).click()
    assert "uncommitted" in driver.find_element("id", "panel").text


def test_dark_by_preference_and_by_the_button(browser, empty: Path) -> None:
    def background(driver: Any) -> str:
        return driver.execute_script("return getComputedStyle(document.body).backgroundColor")

    light, dark = background(browser(empty)), background(browser(empty, dark=True))
    assert light != dark
    driver = browser(empty)
    driver.find_element("id", "theme").click()
    assert background(driver) == dark
    driver.execute_script("localStorage.clear()")


def test_a_figure_shows_its_points_and_their_runs(browser, full: Path) -> None:
    driver = browser(full)
    driver.find_element("css selector", "[data-points=figure1]").click()
    panel = driver.find_element("id", "panel")
    assert panel.text.count("RTE, ") == 8
    panel.find_element("css selector", ".runs .plain").click()
    assert "make again PROFILE=smoke RUN=finetune-" in panel.text
    driver.find_element("id", "close").click()
    assert driver.switch_to.active_element.get_attribute("data-points") == "figure1"


def test_a_point_of_a_figure_says_where_its_base_was_computed(tree: Path) -> None:
    """Whose base is another point of its row, or another row of its map."""
    cells = json.loads(
        re.findall(r'id="data">(.*?)</script>', page.write(("mini",), tree / "bases.html").read_text())[0]
    )["cells"]
    places = {(cell["study"], cell["row"], cell["column"]): cell for cell in cells}
    for at, base in (
        (("figure1", "RTE", "22 sets"), ("figure1", "RTE", "0 sets")),
        (("figure3", "QNLI | 34 sets", "55 %"), ("figure3", "QNLI | 0 sets", "55 %")),
        (("figure2", "Batch Heterogeneous", "RTE"), ("figure2", "RoBERTa-B", "RTE")),
    ):
        assert cells[places[at]["base"]] is places[base]


def test_beside_a_small_models_score_no_cell_shows_a_number_of_the_paper(browser, full: Path) -> None:
    """Which a row that nobody measured keeps, and the panel names."""
    driver = browser(full)
    own, theirs = (cell(driver, "table3", row, 2) for row in ("RoBERTa-B + MUPPET", "ELECTRA-L"))
    assert "87.8" not in own.text and len(own.text) >= 4 and theirs.text == "88.0"
    own.click()
    assert "87.8" in driver.find_element("id", "panel").text


def test_two_profiles_are_two_views(browser, empty: Path) -> None:
    driver = browser(empty)
    driver.find_element("css selector", "input[value=mini]").find_element("xpath", "..").click()
    cell(driver, "table3", "RoBERTa-L", 2).click()
    text = driver.find_element("id", "panel").text
    assert text.count("not in this profile") == 1 and "make" not in text  # nothing can be run


def test_a_link_to_a_claim_opens_it(browser, empty: Path) -> None:
    driver = browser(empty)
    driver.get(f"{empty.as_uri()}#C9")
    claim = driver.find_element("id", "C9")
    assert claim.get_attribute("open") and "Spearman" in claim.text and driver.get_log("browser") == []


def test_smoke_has_a_page_of_its_own_and_equal_results_give_equal_bytes(
    tree: Path, full: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "COMMITTED", ("mini",))
    assert page.main(Namespace(profile="smoke")) == 0
    assert capsys.readouterr().out.split() == ["paper_tables/report.html", "paper_tables/smoke/report.html"]
    assert '"smoke"' not in (tree / "paper_tables" / "report.html").read_text(encoding="utf-8")
    assert (tree / "paper_tables" / "smoke" / "report.html").read_bytes() == full.read_bytes()
