"""A made-up round on drawn street scenes, as complete as a real one."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cascade.predictions import Detections
from curation.report.facts import Chosen, Facts, MemberFacts, Projection, RoundRecord

CLASSES = ("cone", "drum", "barricade", "sign", "worker", "vehicle")
DECIDING = CLASSES[:5]
MEMBERS = ("tiny_center", "tiny_rtdetr", "tiny_yolo")
SLICES = ("size=far", "time_of_day=day", "time_of_day=night", "weather=rain")
BECAUSE = {
    "hard": "the members disagree on whether a cone is there (0.41)",
    "coverage": "unlike the labeled samples",
    "random": "drawn blindly",
}


@pytest.fixture(scope="session")
def make_boxes():
    def make(*rows):
        """Return boxes from rows of (label, x1, y1, x2, y2[, score])."""
        return Detections(
            boxes_xyxy=np.array([row[1:5] for row in rows], float).reshape(-1, 4),
            scores=np.array([row[5] if len(row) > 5 else 1.0 for row in rows]),
            class_ids=np.array([CLASSES.index(row[0]) for row in rows], np.int64),
            classes=CLASSES,
        )

    return make


@pytest.fixture(scope="session")
def make_evaluation():
    def make(identity, right, lift, *, n=240):
        generator = np.random.default_rng(3)
        truth = (generator.random(n) < 0.4).astype(int)
        correct = generator.random(n) < right
        says = np.where(correct, truth, 1 - truth)
        p = np.clip(np.where(says, 0.85, 0.12) + generator.normal(0, 0.1, n), 0.01, 0.99)
        masks = {name: (np.arange(n) % len(SLICES) == i) for i, name in enumerate(SLICES)}
        return {
            "ensemble": identity,
            "split": "test",
            "n_images": n,
            "n_positive": int(truth.sum()),
            "prevalence": 0.4,
            "threshold": 0.5,
            "mcc": 0.5 + lift,
            "precision": 0.6 + lift,
            "recall": 0.6 + lift,
            "ece": 0.1,
            "map": 0.3 + lift,
            "map50": 0.5 + lift,
            "map50_interval": [0.45 + lift, 0.55 + lift],
            "members": {
                name: {"map": 0.2 + lift, "map50": 0.35 + 0.05 * i + lift}
                for i, name in enumerate(MEMBERS)
            },
            "classes": {
                name: {"ap50": None if name == "drum" else 0.4 + 0.05 * i + lift, "n": 12 * i + 5}
                for i, name in enumerate(CLASSES)
            },
            "slices": {
                name: {
                    "n": int(mask.sum()),
                    "n_positive": int(truth[mask].sum()),
                    "mcc": None if name == "weather=rain" else 0.4 + 0.1 * i + lift,
                    "recall": 0.5 + lift + 0.05 * i,
                    "precision": 0.6 + lift,
                    "map50": 0.3 + lift + 0.1 * i,
                }
                for i, (name, mask) in enumerate(masks.items())
            },
            "latency_ms": {"mean": 40.0, "p50": 39.0, "p99": 61.0, "n": 20},
            "samples": {
                "id": [f"id{i}" for i in range(n)],
                "drive": [f"drive{i // 6}" for i in range(n)],
                "truth": truth.tolist(),
                "p": p.tolist(),
                "slices": {name: mask.astype(int).tolist() for name, mask in masks.items()},
            },
        }

    return make


@pytest.fixture
def make_round_record(make_evaluation):
    def make(number=1, lift=0.1):
        arms = {
            "hard": (24, 15, 9, 14, 6, 0.427, 0.788),
            "random": (6, 1, 1, 1, 0, 0.03, 0.564),
            "coverage": (10, 4, 2, 3, 3, 0.168, 0.687),
        }
        keys = ("n", "failures", "wrong_decisions", "missed", "false", "lower", "upper")
        summaries = {
            "predict": {"samples": 612, "ran": 1836, "skipped": 0, "failed": 2},
            "embed": {"embedder": "mobilenet", "added": 612},
            "score": {"ranked": 500, "scored": 498},
            "choose": {
                "pool": 500,
                "chosen": 40,
                "duplicates_dropped": 31,
                "boxes": 96.4,
                "hours": 0.3,
                "advice": ["Pool and budget are 12 to 1: choosing can help."],
            },
            "label": {
                "labeler": "oracle",
                "chosen": 40,
                "labeled": 40,
                "boxes": 103,
                "review": [],
                "failure_yield": {arm: dict(zip(keys, v, strict=True)) for arm, v in arms.items()},
            },
            "train": {
                "examples": 60 + 40 * number,
                "members": {
                    name: {
                        "epochs": 8,
                        "best_epoch": 6,
                        "train_loss": [3.0 / (i + 1 + k) for i in range(8)],
                        "val_map50": [None, *(0.1 * i for i in range(1, 8))],
                        "seconds": 21.0 + 70 * k,
                    }
                    for k, name in enumerate(MEMBERS)
                },
            },
            "evaluate": {},
            "publish": {"sentence": "Version 2 is promoted: it replaces version 1."},
        }
        seconds = (41.2, 9.8, 3.1, 1.4, 0.6, 96.0, 31.5, 4.4)
        return RoundRecord(
            number=number,
            record={
                "round": number,
                "dataset": "demo",
                "started": "2026-11-23T05:00:00+00:00",
                "manifest": "tiny",
                "taxonomy": "roadwork",
                "labeler": "oracle",
                "ensemble_before": "6f1d2c3b4a596877",
                "ensemble_after": "90ab12cd34ef5678",
                "stages": {
                    name: {"seconds": taken, "summary": summary}
                    for (name, summary), taken in zip(summaries.items(), seconds, strict=True)
                },
            },
            before=make_evaluation("6f1d2c3b4a596877", 0.80, 0.0),
            after=make_evaluation("90ab12cd34ef5678", 0.80 + lift, lift),
            verdict={
                "outcome": "promote",
                "reasons": ["MCC is better by +0.212, at least by +0.104."],
                "checks": [
                    {
                        "name": "mcc",
                        "passed": True,
                        "value": 0.104,
                        "limit": 0.0,
                        "sentence": "MCC changed by +0.212; its lower 95 % bound is +0.104, "
                        "which must be above 0.",
                    },
                    {
                        "name": "cost",
                        "passed": False,
                        "value": 1.7,
                        "limit": 1.5,
                        "sentence": "An image takes 1.7 times as long; 1.5 is allowed.",
                    },
                    {
                        "name": "slice weather=rain",
                        "passed": None,
                        "value": None,
                        "limit": None,
                        "sentence": "60 images are too few to judge a slice.",
                    },
                ],
                "delta_mcc": 0.212,
                "lower": 0.104,
                "upper": 0.318,
                "n_images": 240,
                "n_groups": 40,
                "needed": None,
            },
        )

    return make


@pytest.fixture
def street(tmp_path):
    """Return the maker of a drawn street with a cone where its box says."""

    def make(number):
        generator = np.random.default_rng(number)
        dark = number % 3 == 0
        image = Image.new("RGB", (640, 360), (24, 28, 44) if dark else (178, 208, 232))
        pen = ImageDraw.Draw(image)
        pen.polygon([(0, 360), (250, 170), (390, 170), (640, 360)], fill=(70, 72, 76))
        pen.line([(320, 360), (320, 170)], fill=(220, 220, 200), width=4)
        x, height = int(generator.integers(120, 500)), int(generator.integers(30, 110))
        y = 330 - int(generator.integers(0, 80))
        tip = (x, y - height)
        pen.polygon([tip, (x - height // 3, y), (x + height // 3, y)], fill=(240, 100, 20))
        path = tmp_path / f"drive{number // 4:02d}_frame{number:04d}.jpg"
        image.save(path, quality=90)
        box = ((x - height / 3) / 640, (y - height) / 360, (x + height / 3) / 640, y / 360)
        return path, box

    return make


@pytest.fixture
def make_facts(street, make_boxes):
    def make(*, labeled=True):
        generator = np.random.default_rng(0)
        pool = generator.beta(1.5, 4, 500)
        arms = {"hard": np.sort(pool)[-24:][::-1].tolist(), "coverage": pool[:10].tolist()}
        arms["random"] = pool[20:26].tolist()
        shown = []
        for arm, values in arms.items():
            for rank, hardness in enumerate(values[:6], start=1):
                path, box = street(len(shown))
                near = [side + 0.012 for side in box]
                said = [("cone", *near, 0.71)] if rank % 3 else [("sign", 0.1, 0.1, 0.2, 0.4, 0.5)]
                shown.append(
                    Chosen(
                        filepath=str(path),
                        arm=arm,
                        rank=rank,
                        hardness=hardness,
                        because=BECAUSE[arm],
                        truth=make_boxes(("cone", *box)) if labeled else None,
                        consensus=make_boxes(*said),
                    )
                )
        xy = generator.normal(size=(500, 2)) + 3 * (generator.random((500, 1)) > 0.5)
        return Facts(
            dataset="demo",
            samples=612,
            splits={"train": 432, "val": 60, "test": 120},
            labeled=280,
            members=tuple(
                MemberFacts(name, 612, 900 + 40 * i, 500) for i, name in enumerate(MEMBERS)
            ),
            consensus=MemberFacts("consensus", 612, 1104, 480),
            decisions={"yes": 240, "no": 372},
            decision="roadwork",
            ways={"stop": 300, "fast_a": 40, "fast_b": 20, "precision": 252},
            pool=pool.tolist(),
            arms=arms,
            shown=tuple(shown),
            projection=Projection(xy=xy, hardness=pool, chosen=np.arange(500) < 26),
            failures=[
                {
                    "sample": f"id{i}",
                    "filepath": f"/data/broken{i}.jpg",
                    "stage": "predict",
                    "member": None,
                    "error": "ImageError",
                    "message": f"/data/broken{i}.jpg has zero bytes.",
                }
                for i in range(2)
            ],
        )

    return make
