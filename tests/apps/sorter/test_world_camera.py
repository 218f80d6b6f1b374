"""The camera: rays against MuJoCo's own, boxes against pixels, and training frames."""

import shutil

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.simulator import backends, items
from groundup.apps.sorter.simulator import camera as cameras
from groundup.apps.sorter.simulator.backends import NUMPY
from groundup.apps.sorter.simulator.camera import AT, RAIL, Camera, PosedItem
from groundup.apps.sorter.simulator.frames import frames
from groundup.apps.sorter.simulator.items import BALL, BOX, DISC, KINDS, ODD, UNKNOWN, Item, f32
from groundup.apps.sorter.simulator.rays import enter

PART = SimulatorConfig(noise=(0, 0), blur=(0, 0), light=(1, 1), exposure=(0, 0), dirt=(0, 0), crush=(0, 0))


def posed(x: float, y: float, kind: str = "cardboard", seed: int = 0, z: float = 0) -> PosedItem:
    item = items.draw(np.random.default_rng(seed), kind, PART)
    return PosedItem(seed, item, f32((AT + x, y, item.extent[2] + z)), f32(np.eye(3)))


def camera(config: SimulatorConfig = PART) -> Camera:
    return Camera(config, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("form", "name", "size"),
    [(BALL, "ellipsoid", (0.04, 0.03, 0.02)), (DISC, "cylinder", (0.03, 0.03, 0.05)), (BOX, "box", (0.05, 0.03, 0.02))],
)
def test_rays_end_where_those_of_mujoco_end(form: tuple[int, int, int], name: str, size: tuple[float, ...]) -> None:
    rng = np.random.default_rng(1)
    quat = rng.normal(size=4)
    quat /= np.linalg.norm(quat)
    extent = size[1:] if name == "cylinder" else size
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><worldbody><geom type="{name}" size="{" ".join(map(str, extent))}"'
        f' quat="{" ".join(map(str, quat))}"/></worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    turn, origin = data.geom_xmat[0].reshape(3, 3), np.array([0.01, 0.02, 1.0])
    rays = np.stack([*rng.uniform(-0.09, 0.06, (2, 2000)), np.full(2000, -1.0)], 1)
    ids, reference = np.zeros(2000, np.int32), np.zeros(2000)
    mujoco.mj_multiRay(model, data, origin, rays.ravel(), None, 1, -1, ids, reference, None, 2000, 1e10)
    inward = turn.T / np.array(size)[:, None]
    depth, hit = enter(f32(inward @ origin)[:, None], f32(inward @ rays.T), f32(form)[:, None])
    assert 200 < hit.sum() < 1900
    assert (hit != (ids >= 0)).mean() < 2e-3  # rays that graze an edge, in 32 bits
    both = hit & (ids >= 0)
    np.testing.assert_allclose(depth[both], reference[both], atol=2e-4)  # 1 m away, in 32 bits


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "groundup"


@pytest.mark.skipif(backends.fastest() is NUMPY, reason="no C compiler")
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), pixels=st.integers(32, 160), travel=st.floats(0, 100), light=st.floats(0, 3))
def test_both_back_ends_draw_the_same_bits(seed, pixels, travel, light):
    """Things of all kinds, turned, floating, within one another and in part beyond the edge; the same thing twice in
    one place too.
    """
    rng, part = (
        np.random.default_rng(seed),
        SimulatorConfig(pixels=pixels, dirt=(0, 0.8), blur=(0, 1.8), noise=(0, 20), light=(0.2, 2.6)),
    )
    drawn = [items.draw(rng, kind, part) for kind in rng.choice((*KINDS, UNKNOWN, ODD), 8)]
    turns, places = (
        np.linalg.qr(rng.normal(size=(8, 3, 3)))[0],
        rng.uniform((AT - 0.4, -0.3, 0), (AT + 0.4, 0.3, 0.2), (8, 3)),
    )
    lying = [PosedItem(k, *thing) for k, thing in enumerate(zip(drawn, f32(places), f32(turns), strict=True))]
    looks = [
        Camera(part, np.random.default_rng(seed), way).render([*lying, *lying[:1]], travel, light)
        for way in (NUMPY, backends.fastest())
    ]
    np.testing.assert_array_equal(looks[0][0], looks[1][0])
    assert looks[0][1] == looks[1][1]


@pytest.mark.parametrize("compiler", ["/nonexistent", "false"])
def test_without_a_compiler_numpy_draws(compiler, own_cache, monkeypatch):
    monkeypatch.setenv("CC", compiler)
    assert backends.fastest.__wrapped__() is NUMPY


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc")
@pytest.mark.parametrize("fault", ["return 0", "__builtin_trap(); return 0"], ids=["draws nothing", "dies"])
def test_a_back_end_that_draws_something_else_or_dies_is_not_used(fault, own_cache, monkeypatch, capsys):
    """A process of its own finds out, so that what dies is not this one."""
    wrong = own_cache.with_name("camera.c")
    wrong.write_text(f"long trace(void *scene, void *out) {{ {fault}; }}\nvoid develop(void) {{}}")
    monkeypatch.setattr(backends, "SOURCE", wrong)
    assert backends.fastest.__wrapped__() is NUMPY
    assert "the slower code runs instead" in " ".join(capsys.readouterr().err.split())
    assert not list(own_cache.iterdir())


@pytest.mark.parametrize("kind", [*KINDS, "unknown", "odd"])
def test_a_box_holds_every_pixel_that_the_item_changes(kind: str) -> None:
    with_item, seen = camera().render([posed(0.03, 0.05, kind)])
    empty, nothing = camera().render([])
    left, top, right, bottom = seen[0].box
    brighter = (with_item.astype(int) - empty > 8).any(2)  # a shadow is darker
    rows, columns = np.nonzero(brighter)
    assert nothing == [] and seen[0].visible == 1
    assert len(rows) and left <= columns.min() and columns.max() < right and top <= rows.min() and rows.max() < bottom


def test_what_is_covered_or_beyond_the_edge_is_visible_in_part() -> None:
    below, above, cut = posed(0, 0), posed(0.04, 0, seed=1, z=0.1), posed(0.24, 0.1, seed=2)
    visible = {one.number: one.visible for one in camera().render([below, above, cut])[1]}
    assert visible[1] == 1 and 0 < visible[0] < 0.95 and 0.2 < visible[2] < 0.8
    assert camera().render([posed(0.6, 0)])[1] == []


def test_light_and_lens_do_what_they_say() -> None:
    plain = camera().render([posed(0, 0)])[0].astype(float)
    dark = camera(PART.model_copy(update={"light": (0.3, 0.3)})).render([posed(0, 0)])[0]
    noisy = camera(PART.model_copy(update={"noise": (10, 10)})).render([posed(0, 0)])[0]
    blurred = camera(PART.model_copy(update={"blur": (1.5, 1.5)})).render([posed(0, 0)])[0].astype(float)
    assert dark.mean() / plain.mean() == pytest.approx(0.3, abs=0.03)
    assert np.std(noisy - plain) == pytest.approx(10, rel=0.2)
    assert np.abs(np.diff(blurred, axis=1)).mean() < 0.8 * np.abs(np.diff(plain, axis=1)).mean()


def test_the_belt_slides_under_the_camera() -> None:
    first, later = (camera().render([], travel)[0] for travel in (0, 10 * cameras.VIEW / PART.pixels))
    assert np.array_equal(first[:, :-10], later[:, 10:])


def test_frames_follow_from_seed_and_number() -> None:
    many, few = list(frames(5, 6, SimulatorConfig())), list(frames(5, 3, SimulatorConfig()))
    assert all(np.array_equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(many, few, strict=False))
    assert not np.array_equal(many[0][0], next(frames(6, 1, SimulatorConfig()))[0])


def test_frames_show_every_kind_but_the_unknown_at_rest_between_the_rails() -> None:
    seen = [one for _, found in frames(0, 40, SimulatorConfig(pixels=48)) for one in found]
    assert {one.kind for one in seen} == set(KINDS)
    rail = 48 * (0.5 - RAIL / cameras.VIEW) - 2  # a tall item leans over it by perspective
    assert min(one.box[1] for one in seen) >= rail
    assert any(one.kind == "unknown" for _, found in frames(0, 5, SimulatorConfig(unknown=1)) for one in found)


def test_oddments_are_unknown_and_each_another() -> None:
    seen = [one for _, found in frames(0, 10, SimulatorConfig(odd=1)) for one in found]
    assert {one.kind for one in seen} == {"unknown"}
    looks = {items.draw(np.random.default_rng(seed), "odd", PART).paint.tobytes() for seed in range(50)}
    assert len(looks) == 50


def crushed(seed: int, crush: float) -> Item:
    return items.draw(np.random.default_rng(seed), "can", PART.model_copy(update={"crush": (crush, crush)}))


def test_crushing_flattens() -> None:
    assert all(crushed(seed, 0.6).extent[2] < 0.7 * crushed(seed, 0).extent[2] for seed in range(10))
