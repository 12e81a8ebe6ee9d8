"""Stage fetch_weights: the weights that training starts from, if it does not start from random ones."""

from pathlib import Path

from ofa_core.pretrained.starting import provide
from ofa_core.run import files, paths
from ofa_core.run.stage import exit_cleanly, running
from ofa_core.space.params import SpaceParams


def main() -> None:
    """Writes build/pretrained/: weights.safetensors, if there are any, and source.json, which says where they are from."""
    with running("fetch_weights") as stage:
        space = stage.params.read("space", SpaceParams).build()
        init = stage.params.read("train_supernet.init", str | None)
        md5 = stage.params.read("train_supernet.init_md5", str | None)
        if md5 is not None:
            stage.pinned(Path(str(init)), md5, "train_supernet.init_md5")
        with files.replacing_folder(paths.PRETRAINED) as new:
            if init is not None:
                provide(init, space, new / paths.STARTING.name)
            files.write_json(new / "source.json", {"init": init, "md5": md5})


if __name__ == "__main__":
    exit_cleanly(main)
