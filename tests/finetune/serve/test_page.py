"""The page in a real browser, where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from driven_tank import DT, POINTS, write_tank

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.simulation.simulate import simulate
from pelagos.operators import Description, create

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
EARLIER = Path(__file__).parents[2] / "earlier"
SERVE = "import sys; from pelagos.finetune.cli.console import main; main(sys.argv[1:])"

pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium here")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where a server listens, in a process of its own."""
    folder = tmp_path_factory.mktemp("served")
    about = Description(("u",), units={"u": "m", "q": "m/s"}, prescribed=("q",),
                        time_steps=(DT,), grid=Grid.unit((POINTS,)))  # fmt: skip
    operator = create("dymixop", description=about, ndim=1, history=1, hidden=4, layers=1, modes=2)
    words = [str(EARLIER / "checkpoints" / name) for name in ("multiscale", "observer")]
    words.append(str(operator.save_pretrained(folder / "driven")))
    data = [f"--data={EARLIER / 'datasets' / name}" for name in ("burgers_1d", "burgers_2d")]
    data.append(f"--data={write_tank(folder / 'tanks', {'test': 2})}")
    steady = {"trajectories": {"train": 1, "test": 2}, "resolution": 8}
    data.append(f"--data={simulate('poisson_2d', folder, **steady)}")
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, "serve", *words, *data, "--port", "0", "--device", "cpu"],
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout, "a pipe"
        yield server.stdout.readline().split()[2]
        server.terminate()


def shown(address, tmp_path, link=""):
    """What the page has become, as HTML."""
    done = subprocess.run(
        [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
         "--virtual-time-budget=300000", "--dump-dom", f"{address}/#{link}"],
        capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    return done.stdout


def test_it_predicts_as_it_opens(address, tmp_path):
    page = shown(address, tmp_path, "checkpoint=multiscale&steps=3")
    assert re.search(r'id="status"[^>]*>Computed in [\d.]+ s\.', page)
    for title in ("Start", "Prediction", "Truth", "Error", "Energy spectrum"):
        assert f"<h3>{title}</h3>" in page
    assert re.search(r"VRMSE \d", page)
    assert "of what was trained</h2>" in page
    assert 'max="2"' in page  # of the lead times


def test_sensors_come_with_the_address(address, tmp_path):
    page = shown(address, tmp_path, "checkpoint=observer&mode=sensors&sensors=0.125;0.5")
    assert "2 sensors" in page
    assert "Lead time 0.02, estimate" in page
    assert page.count('class="sensor"') == 2


def test_what_is_prescribed_is_said(address, tmp_path):
    page = shown(address, tmp_path, "checkpoint=driven&steps=3")
    assert "u [m], driven by q [m/s]" in page
    assert (
        "A file needs u [m], and at all times of the forecast q [m/s]: along the same time" in page
    )
    assert re.search(r'id="status"[^>]*>(Computed in [\d.]+ s\.|outside)', page)
    assert re.findall(r'<option value="(tanks|burgers_1d)">', page) == ["tanks"]  # which has q


def test_a_mixture_needs_some_of_its_fields_only(address, tmp_path):
    page = shown(address, tmp_path, "checkpoint=pelagos:dymixop-1d&steps=2")
    assert re.search(r"A file needs some of u[^.]*, u_t, density, velocity_x, pressure\.", page)
    assert '<option value="burgers_1d">' in page
    choice = re.search(r'<select id="dataset".*?</select>', page, re.DOTALL)
    assert choice is not None
    assert "burgers_2d" not in choice[0]


def test_who_steps_in_time_is_offered_no_steady_data(address, tmp_path):
    page = shown(address, tmp_path, "checkpoint=pelagos:dymixop-2d&steps=2")
    choice = re.search(r'<select id="dataset".*?</select>', page, re.DOTALL)
    assert choice is not None
    assert re.findall(r'value="([^"]*)"', choice[0]) == ["burgers_2d"]
