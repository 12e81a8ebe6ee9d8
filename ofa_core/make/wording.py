"""The plan in five lines: what was found, what it will do, how long that takes."""

from ofa_core.make.plan import Plan, splits
from ofa_core.make.request import HOST, Request
from ofa_core.make.survey import Survey

MOST_GREY = 0.95
"""Share of grey photos from which a set is called grey."""
UNEVEN = 3.0
"""Ratio of the largest class to the smallest that is worth a word."""


def lines(request: Request, found: Survey, plan: Plan) -> list[str]:
    """Five lines."""
    return [
        f"photos   {_photos(request, found)}",
        f"look     {_look(found)}",
        f"use      {_use(found, plan)}",
        f"train    {_train(request, plan)}",
        f"time     {_time(plan)}; project {request.out}",
    ]


def _photos(request: Request, found: Survey) -> str:
    kept = [f"{found.images(name):,} in {name}/" for name in ("train", "val", "test") if found.images(name)]
    parts = f" ({', '.join(kept)})" if len(kept) > 1 else ""
    ignored = f"; {found.ignored:,} other files are ignored" if found.ignored else ""
    return f"{found.total:,} photos of {len(found.classes)} classes in {request.photos}{parts}{ignored}"


def _look(found: Survey) -> str:
    low, _, median = found.shorter_sides
    sides = f"{low} pixels" if low == median else f"{low} pixels and more, mostly about {median}"
    colour = "grey" if found.grey >= MOST_GREY else "colour" if found.grey <= 1 - MOST_GREY else f"{found.grey:.0%} grey"
    fewest, most = found.extremes
    counts = found.counts["train"]
    even = f"{counts[fewest]:,} photos a class or more"
    if found.imbalance >= UNEVEN:
        even = f"uneven: {fewest} has {counts[fewest]:,} photos, {most} {counts[most]:,}"
    broken = f", such as {found.example}" if found.example else ""
    return f"shorter side {sides}; {colour}; {found.broken} of {found.sampled} looked at are broken{broken}; {even}"


def _use(found: Survey, plan: Plan) -> str:
    counts, prepare = splits(plan.params, found), plan.params["prepare"]
    held = [f"{counts[name]:,} for {name}{'' if found.images(name) else ' (held out)'}" for name in ("val", "test")]
    sizes = plan.params["space"]["resolutions"]
    pixels = f"stored at {prepare['image_size']} pixels, networks see {sizes[0]} to {sizes[-1]}"
    return f"{counts['train']:,} to train on, {', '.join(held)}; {pixels}"


def _train(request: Request, plan: Plan) -> str:
    params = plan.params
    epochs = params["train_supernet"]["epochs"] + sum(phase["epochs"] for phase in params["shrink"]["phases"].values())
    device = "this machine" if request.device == HOST else f"phone {request.serial or 'at the cable'}"
    if request.ms:
        budgets = ", ".join(f"{value:g}" for value in request.ms)
        models = f"{len(request.ms)} model{'s' if len(request.ms) > 1 else ''} of at most {budgets} ms on {device}"
    else:
        models = f"3 models along the front, from fast to accurate on {device}"
    start = f", starting from {init}" if (init := params["train_supernet"]["init"]) else ""
    steps = f"{epochs:.3g} epochs of {params['training']['batch_size']} photos a step"
    return f"{params['space']['name']} for {steps}{start}; then {models}"


def _time(plan: Plan) -> str:
    step = plan.params["training"]["batch_size"] * plan.speed.per_image["largest"]
    return f"about {duration(plan.minutes)} here, at {step:.2g} s a step of the largest network"


def duration(minutes: float) -> str:
    """Such as 3 minutes, or 2.5 hours."""
    if minutes < 90:
        whole = max(1, round(minutes))
        return f"{whole} minute{'s' if whole > 1 else ''}"
    return f"{minutes / 60:.2g} hours"
