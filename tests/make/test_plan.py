"""The decisions of a plan and their reasons, without photos, torch or files."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ofa_core.make.duration import Speed, stage_seconds
from ofa_core.make.plan import MOST_EPOCHS, PHOTO_SIDE, PROFILE, SMALL, Plan, make_plan, profile_for, splits
from ofa_core.make.project import base_text, params_text
from ofa_core.make.request import Request, command
from ofa_core.make.survey import Survey
from ofa_core.profiles.check import check_params
from ofa_core.run.errors import InputError
from ofa_core.run.params import ParamsFile
from tests.conftest import REPO

TEXT = base_text(REPO, SMALL)
BASE = ParamsFile("base.yaml", TEXT).content
SPEED = Speed(per_image={"smallest": 0.0005, "middle": 0.001, "largest": 0.002}, input=0.0001, update=0.001, start=3.0)


def request(**changes: Any) -> Request:
    return Request(**{"photos": Path("/photos"), "out": Path("/project")} | changes)


def found(train: int = 3000, classes: int = 10, side: int = 200, broken: int = 0, **own: int) -> Survey:
    """A survey of equal classes. own: images of val and test."""
    counts = {
        split: {f"c{i}": count // classes for i in range(classes)} for split, count in ({"train": train} | own).items() if count
    }
    return Survey(
        counts=counts, ignored=0, sampled=100, broken=broken, shorter_sides=(side, side, side), grey=0.0, example=None,
        decode_seconds=0.001,
    )  # fmt: skip


def plan(survey: Survey, base: Mapping[str, Any] = BASE, speed: Speed = SPEED, **changes: Any) -> Plan:
    return make_plan(request(**changes), survey, base, 2, lambda params: speed)


def value(of: Plan, key: str) -> Any:
    inner: Any = of.params
    for name in key.split("."):
        inner = inner[name]
    return inner


def test_every_decision_has_a_reason_and_the_parameters_are_valid() -> None:
    for survey in (found(), found(60, 3, 20), found(100_000, side=500, val=9000, test=50)):
        base = base_text(REPO, profile_for(survey))
        made = plan(survey, ParamsFile("base.yaml", base).content, ms=(20.0, 40.0))
        assert all(decision.reason for decision in {d.key: d for d in made.decisions}.values())
        text = params_text(base, made.decisions, ["head"])
        params = ParamsFile("params.yaml", text)
        check_params(params)
        assert params.content == made.params, "what is written is what was planned"
        for decision in {d.key: d for d in made.decisions}.values():
            assert f" # {decision.reason}" in text, decision


def test_the_profile_goes_by_the_size_of_the_photos() -> None:
    assert profile_for(found(side=PHOTO_SIDE)) == PROFILE
    assert profile_for(found(side=PHOTO_SIDE - 1)) == SMALL


def test_a_sixth_is_held_out() -> None:
    made = plan(found(3000))
    assert splits(made.params, found(3000)) == {"train": 2000, "val": 500, "test": 500}
    few = plan(found(60, 10))
    assert value(few, "prepare.val_images") == 15, "three a class would be half of the photos"
    many = plan(found(100_000))
    assert value(many, "prepare.val_images") == 2000


def test_own_splits_are_used() -> None:
    made = plan(found(3000, val=300, test=5000))
    assert (value(made, "prepare.val_images"), value(made, "prepare.test_images")) == (0, 0)
    assert splits(made.params, found(3000, val=300, test=5000)) == {"train": 3000, "val": 300, "test": 5000}
    assert value(plan(found(3000, val=9000)), "prepare.val_images") == 2000


@pytest.mark.parametrize(
    ("side", "resolutions", "size"), [(500, [24, 28, 32], 32), (32, [24, 28, 32], 32), (24, [16, 20, 24], 24)]
)
def test_networks_see_no_more_than_the_photos_have(side: int, resolutions: list[int], size: int) -> None:
    made = plan(found(side=side))
    assert (value(made, "space.resolutions"), value(made, "prepare.image_size")) == (resolutions, size)


def test_few_images_have_small_batches_and_rates() -> None:
    made = plan(found(150, 3))
    assert value(made, "training.batch_size") == 8
    assert value(made, "train_supernet.lr") == BASE["train_supernet"]["lr"] / 8
    assert value(made, "shrink.phases.all.lr") == BASE["shrink"]["phases"]["all"]["lr"] / 8
    assert value(plan(found(3000)), "training.batch_size") == BASE["training"]["batch_size"]


def test_broken_files_are_allowed_for() -> None:
    assert value(plan(found(3000)), "prepare.max_broken") == 10
    assert value(plan(found(3000, broken=5)), "prepare.max_broken") == 300


def test_the_time_sets_the_epochs() -> None:
    minutes = [15, 17, 19]
    made = [plan(found(3000), minutes=m) for m in minutes]
    for m, one in zip(minutes, made, strict=True):
        assert one.minutes == pytest.approx(m, rel=0.04)
    assert [value(one, "shrink.phases.all.epochs") for one in made] == sorted(
        value(one, "shrink.phases.all.epochs") for one in made
    )
    assert value(plan(found(300), minutes=3000), "shrink.phases.all.epochs") == MOST_EPOCHS
    short = plan(found(3000), minutes=0.06)
    assert short.minutes > 0.06
    reasons = {d.key: d.reason for d in short.decisions}
    assert reasons["shrink.phases.all"] == "the fewest that make sense; --minutes 0.06 leaves less"


def test_other_latencies_do_not_train_again() -> None:
    few, many = plan(found()), plan(found(), ms=(1.0, 2.0, 3.0, 4.0, 5.0))
    for section in ("seed", "space", "training", "prepare", "train_supernet", "shrink", "collect_accuracies"):
        assert few.params[section] == many.params[section]
    assert list(many.params["search"]["targets"]) == ["1ms", "2ms", "3ms", "4ms", "5ms"]
    assert value(few, "search.targets") == {
        "fast": {"fraction": 0.25},
        "medium": {"fraction": 0.6},
        "accurate": {"fraction": 1.0},
    }
    assert list(plan(found(), ms=(0.5,)).params["search"]["targets"]) == ["0_5ms"], "DVC allows no dot in an artifact's name"


def test_a_phone() -> None:
    made = plan(found(), device="android:R5CT", program=Path("/tools/benchmark_model"))
    [(name, device)] = value(made, "build_latency_table.devices").items()
    assert value(made, "search.device") == name == "phone"
    assert device["android"] == {"binary": "/tools/benchmark_model", "serial": "R5CT"}


def test_a_phase_that_draws_by_latency_waits_for_the_table() -> None:
    phases = {"all": BASE["shrink"]["phases"]["all"] | {"draw": "latency"}}
    made = plan(found(), BASE | {"shrink": BASE["shrink"] | {"phases": phases}})
    assert value(made, "shrink.latency_table") == "build/latency/host.json"


def test_small_vals_have_wide_gates() -> None:
    assert value(plan(found(180, 3)), "export.max_int8_drop") == pytest.approx(0.122, abs=0.001)


def test_stages_are_those_of_the_pipeline() -> None:
    import yaml

    declared = yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"]
    made = plan(found())
    left_out = {name for name, stage in declared.items() if "detect" in stage.get("foreach", "")}  # lists that are empty here
    assert {stage.partition("@")[0] for stage in made.seconds} == set(declared) - left_out
    assert not made.params["detectors"]


def test_time_grows_with_the_work() -> None:
    made = plan(found())
    slower = replace(SPEED, per_image={role: 2 * seconds for role, seconds in SPEED.per_image.items()})
    before, after = (stage_seconds(made.params, made.amounts, speed) for speed in (SPEED, slower))
    assert after["shrink@all"] > 1.7 * before["shrink@all"]
    assert after["export@fast"] == before["export@fast"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ms": (-3.0,)}, "--ms: -3 is not above 0"),
        ({"ms": (float("nan"),)}, "--ms: nan is not above 0"),
        ({"minutes": 0.0}, "--minutes: 0 is not above 0, and 10000 at most"),
        ({"device": "toaster"}, "--device: toaster: allowed are host, android and android:SERIAL"),
        ({"device": "android"}, "--device: android: needs --benchmark-model"),
        ({"program": Path("/x")}, "--benchmark-model: goes with --device android"),
        ({"out": Path("/photos/models")}, "--out: /photos/models lies inside the photos"),
    ],
)
def test_impossible_requests(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        request(**changes)
    assert str(error.value).startswith(message)


def test_the_call_that_repeats_a_request() -> None:
    asked = request(ms=(20.0, 0.5), minutes=120.0, photos=Path("/my photos"))
    assert command(asked.to_json(), asked.out) == "ofa make '/my photos' --ms 20 0.5 --minutes 120 --out /project"
