"""The camera of the sorting line, compiled and in numpy, beside MuJoCo's own renderer, with five items in the picture.

    python benchmarks/camera.py

Each renderer runs in a process of its own: where a graphics library is missing, importing MuJoCo ends the process.
Prints frames/s of CPU time (median of three runs) and the ratio. MuJoCo draws the same number of plain primitives
without shadows, and a segmentation; ours adds patterns, noise, blur and boxes.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

RUNS, FRAMES = 3, 40
OURS = ("compiled", "numpy")


def rate(draw: Callable[[], object]) -> float:
    draw()
    rates = []
    for _ in range(RUNS):
        start = time.process_time()
        for _ in range(FRAMES):
            draw()
        rates.append(FRAMES / (time.process_time() - start))
    return sorted(rates)[RUNS // 2]


def ours(pixels: int, way: str) -> float:
    import numpy as np

    from groundup.apps.sorter.config import SimulatorConfig
    from groundup.apps.sorter.simulator import items
    from groundup.apps.sorter.simulator.backends import NUMPY, fastest
    from groundup.apps.sorter.simulator.camera import AT, Camera, PosedItem

    config, rng = SimulatorConfig(pixels=pixels), np.random.default_rng(0)
    drawn = [items.draw(rng, kind, config) for kind in items.KINDS[:5]]
    turn = np.eye(3, dtype=np.float32)
    posed = [
        PosedItem(k, item, items.f32((AT + 0.09 * (k - 2), 0.06 * (k % 3 - 1), item.extent[2])), turn)
        for k, item in enumerate(drawn)
    ]
    if way == "compiled" and fastest() is NUMPY:
        sys.exit("no C compiler")
    camera = Camera(config, rng, NUMPY if way == "numpy" else fastest())
    return rate(lambda: camera.render(posed))


def mujocos(pixels: int) -> float:
    import mujoco

    geoms = "".join(
        f'<geom type="{"box" if k % 2 else "ellipsoid"}" size=".03 .03 .02" pos="{k % 5 * 0.09 - 0.18}'
        f' {k // 5 * 0.1 - 0.15} 0"/>'
        for k in range(20)
    )
    look = '<visual><quality offsamples="0" shadowsize="0"/></visual>'
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco>{look}<worldbody><camera pos="0 0 1" fovy="27"/>{geoms}</worldbody></mujoco>'
    )
    data, renderer = mujoco.MjData(model), mujoco.Renderer(model, pixels, pixels)
    mujoco.mj_forward(model, data)

    def draw() -> object:
        renderer.update_scene(data, 0)
        picture = renderer.render()
        renderer.enable_segmentation_rendering()
        numbers = renderer.render()
        renderer.disable_segmentation_rendering()
        return picture, numbers

    return rate(draw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--pixels", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(ours(options.pixels, options.way) if options.way in OURS else mujocos(options.pixels))
        return
    for pixels in (96, 224):
        rates = {}
        for way in ("numpy", "compiled", "egl", "osmesa"):
            command = [sys.executable, __file__, "--way", way, "--pixels", str(pixels)]
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                env=os.environ | {"MUJOCO_GL": way} if way not in OURS else None,
            )
            rates[way] = float(done.stdout) if done.returncode == 0 else None
            speed = rates[way]
            print(
                f"{pixels} px {way:8}",
                (
                    "not on this machine"
                    if speed is None
                    else f"{speed:6.0f} frames/s, {speed / rates['numpy']:.2f} times numpy"
                ),
            )


if __name__ == "__main__":
    main()
