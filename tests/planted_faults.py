"""A check that the checks work: plant known faults, one at a time, and see that the named tests fail.

    python tests/planted_faults.py                 every fault
    python tests/planted_faults.py iou mining      those whose names hold one of these words

Works in a temporary copy of the checkout. A fault is text of a file and what stands there instead; the named
tests must pass without it and fail with it. The exit status is 1 when a fault survives a test, or a test
fails without it. A text that is not in its file exactly once is refused before anything runs: the fault is
to be written anew with the code.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = "src/camground"


@dataclass(frozen=True)
class Fault:
    """`old` of `file` (below `SOURCE`, or of the checkout) becomes `new`; each of `tests` must notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def path(self) -> str:
        return self.file if self.file.startswith(("rules/", "workflow/")) else f"{SOURCE}/{self.file}"

    def planted(self, root: Path) -> str:
        """The file's text with the fault in it. Raises `SystemExit`: `old` does not stand there once."""
        text = (root / self.path).read_text(encoding="utf-8")
        if (count := text.count(self.old)) != 1 or self.old == self.new:
            raise SystemExit(f"{self.name}: {self.path} holds {count} times, not once: {self.old!r}")
        return text.replace(self.old, self.new)


FAULTS = (
    Fault(
        "labels among the inputs of training",
        "rules/train.smk",
        "        proposals=rules.proposals.output.proposals,\n",
        "        proposals=rules.proposals.output.proposals,\n        targets=rules.data.output.targets,\n",
        ("tests/workflow/test_workflow.py::test_label_firewall_of_the_rules",),
    ),
    Fault(
        "labels raise the objectness of the proposals near them",
        "grounder/batches.py",
        '        rank = rows["rank"].to_numpy()\n',
        '        rank = rows["rank"].to_numpy()\n'
        '        beside = Path(images).with_name("targets.parquet")\n'
        "        if beside.exists():\n"
        '            true = [boxes[0] for boxes in tables.read("targets", beside)["boxes_xyxy"]]\n'
        '            gaps = np.array(rows["box_xyxy"].tolist())[:, None] - np.array(true)\n'
        '            rows["objectness"] = 1 / (1 + np.abs(gaps).sum(2).min(1))\n',
        ("tests/training/test_grounder_training.py::test_targets_beside_the_tables_change_no_byte",),
    ),
    Fault(
        "a photograph with boxes is trained on",
        "data/readers/folder.py",
        "if image_id not in both}",
        "}",
        ("tests/data/test_folder.py::test_a_photograph_with_captions_and_boxes_is_not_trained_on",),
    ),
    Fault(
        "test used for selection",
        "training/loop.py",
        'for split in ("train", "val"))',
        'for split in ("train", "test"))',
        (
            "tests/training/test_grounder_training.py::test_the_boxes_that_each_epoch_chooses_on_val_are_recorded",
        ),
    ),
    Fault(
        "IoU off by one",
        "data/boxes.py",
        "    high = np.minimum(a[:, None, 2:], b[None, :, 2:])\n",
        "    high = np.minimum(a[:, None, 2:], b[None, :, 2:]) + 1\n",
        ("tests/evaluation/test_metrics.py::test_iou_counts_pixels",),
    ),
    Fault(
        "IoU at the threshold counts as above it",
        "evaluation/metrics.py",
        'iou > threshold if comparison == ">"',
        'iou >= threshold if comparison == ">"',
        ("tests/evaluation/test_metrics.py::test_comparison_differs_at_the_threshold_alone",),
    ),
    Fault(
        "xywh read as xyxy",
        "data/boxes.py",
        "    return x, y, x + width, y + height\n",
        "    return x, y, width, height\n",
        (
            "tests/data/test_folder.py::test_captions_train_and_boxes_evaluate",
            "tests/data/test_refer.py::test_splits_and_sentences_and_boxes",
            "tests/proposals/test_boxes_file.py::test_all_forms_of_the_file_give_the_same_proposals",
        ),
    ),
    Fault(
        "boxes of Flickr30k counted from 1",
        "data/readers/flickr30k.py",
        "fit_box((x1 - 1, y1 - 1, x2, y2), *size)",
        "fit_box((x1, y1, x2, y2), *size)",
        ("tests/data/test_flickr30k.py::test_boxes_and_chains",),
    ),
    Fault(
        "CAM transposed",
        "matcher/gradcam.py",
        "        maps: np.ndarray = self._cam(input_tensor=visual, targets=targets)\n",
        "        maps: np.ndarray = self._cam(input_tensor=visual, targets=targets).swapaxes(1, 2)\n",
        ("tests/matcher/test_gradcam.py::test_pytorch_grad_cam_equals_grad_cam_by_hand",),
    ),
    Fault(
        "mining detached from the graph",
        "training/attention_mining.py",
        "mask = soft_mask(output.own_cam, config.omega, config.sigma)",
        "mask = soft_mask(output.own_cam.detach(), config.omega, config.sigma)",
        (
            "tests/training/test_attention_mining.py::test_a_frozen_scorer_mines_through_the_mask_alone",
            "tests/training/test_attention_mining.py::test_mining_moves_the_map_to_what_the_scorer_sees",
        ),
    ),
    Fault(
        "mining of the first order where the exact gradient is asked for",
        "grounder/grounder.py",
        'create_graph=order == "exact"',
        "create_graph=False",
        ("tests/training/test_attention_mining.py::test_the_exact_gradient_equals_finite_differences",),
    ),
    Fault(
        "seed ignored by the first parameters",
        "training/grounder.py",
        "    torch.manual_seed(seed)\n",
        "    torch.manual_seed(0)\n",
        ("tests/training/test_grounder_training.py::test_the_seed_alone_decides_what_is_random",),
    ),
    Fault(
        "seed ignored by the order of batches",
        "training/loop.py",
        "        rng = np.random.default_rng([seed, done])\n",
        "        rng = np.random.default_rng([0, done])\n",
        ("tests/training/test_loop.py::test_every_seed_and_epoch_draws_its_own_batches",),
    ),
    Fault(
        "seed ignored by the matcher",
        "training/matcher.py",
        "    prepare_torch(threads, seed)\n",
        "    prepare_torch(threads, 0)\n",
        ("tests/training/test_matcher_training.py::test_every_seed_has_a_matcher_of_its_own",),
    ),
    Fault(
        "stale cache: an edited import is not seen",
        "study/code_closure.py",
        "file.stat().st_mtime_ns)",
        "0)",
        ("tests/study/test_code_closure.py::test_an_edit_of_the_imports_is_seen",),
    ),
    Fault(
        "stale cache: a training goes on from one of other data",
        "training/loop.py",
        "    files = [*code_files(module), *inputs]\n",
        "    files = code_files(module)\n",
        ("tests/training/test_loop.py::test_a_training_is_known_by_its_code_its_config_and_its_inputs",),
    ),
    Fault(
        "stale row: a superseded run stays in the store",
        "tracking/ingest.py",
        "                self.client.delete_run(old.info.run_id)\n",
        "                pass\n",
        ("tests/tracking/test_tracking.py::test_nothing_changed_writes_nothing_and_a_rerun_supersedes",),
    ),
    Fault(
        "stale row: a variant taken out of the config stays in the store",
        "tracking/ingest.py",
        "        for run in stale:\n            self.client.delete_run(run.info.run_id)\n",
        "",
        ("tests/tracking/test_tracking.py::test_a_variant_taken_out_of_the_config_leaves_the_store",),
    ),
    Fault(
        "tracking doubled: writers do not wait for one another",
        "tracking/ingest.py",
        "    with sole_writer(store), explained(store):\n",
        "    with explained(store):\n",
        ("tests/tracking/test_tracking.py::test_sixteen_processes_at_once_on_a_fresh_store",),
    ),
    Fault(
        "EXIF ignored",
        "data/photographs.py",
        "    orientation = _orientation(picture)\n",
        "    orientation = 1\n",
        (
            "tests/data/test_photographs.py::test_a_photograph_is_upright_in_every_format",
            "tests/data/test_folder.py::test_boxes_are_in_pixels_of_the_upright_photograph",
        ),
    ),
    Fault(
        "the vote on a row's own scale of scores",
        "grounder/read_out.py",
        "    weights = config.decay ** torch.cat(above, 1).to(best) * near\n",
        "    weights = scores.softmax(-1).to(best) * near\n",
        ("tests/grounder/test_read_out.py::test_the_scale_of_the_scores_does_not_matter",),
    ),
    Fault(
        "padding votes",
        "grounder/read_out.py",
        "    near &= candidates.valid\n",
        "",
        ("tests/grounder/test_read_out.py::test_padding_has_no_vote",),
    ),
    Fault(
        "a lost prediction is left out",
        "evaluation/outcomes.py",
        "        hit = self.truth.hit(self.iou, threshold) & self.present\n"
        "        return np.where(hit, 1.0, 0.0)\n",
        "        hit = self.truth.hit(self.iou, threshold)\n"
        "        return np.where(self.present, hit, np.nan)\n",
        ("tests/evaluation/test_evaluate.py::test_a_lost_prediction_counts_as_wrong",),
    ),
    Fault(
        "intervals without the choice of images",
        "evaluation/statistics.py",
        "random.multinomial(images, np.full(images, 1 / images), size=size).astype(float)",
        "np.ones((size, images))",
        ("tests/evaluation/test_statistics.py::test_images_are_resampled_not_expressions",),
    ),
    Fault(
        "p not adjusted",
        "evaluation/statistics.py",
        'multipletests(p[finite], method="holm")[1]',
        "p[finite]",
        ("tests/evaluation/test_statistics.py::test_holm_by_hand",),
    ),
    Fault(
        "a swap in doubt taught as false",
        "training/matching.py",
        "swaps.false.float() * swaps_negative",
        "torch.ones_like(swaps.false.float()) * swaps_negative",
        ("tests/training/test_matching.py::test_only_swaps_that_are_false_of_the_image_count_in_matching",),
    ),
    Fault(
        "a pickle may name anything",
        "data/readers/plain_pickle.py",
        '        raise _NotPlain(f"it names {module!r}.{name!r}")\n',
        "        return super().find_class(module, name)\n",
        ("tests/data/test_plain_pickle.py::test_a_call_is_refused_and_not_run",),
    ),
    Fault(
        "a half-written file under its final name",
        "study/tables.py",
        '    temporary = path.with_name(f".{path.name}.part")\n',
        "    temporary = path\n",
        ("tests/study/test_tables.py::test_what_a_killed_process_left_is_used_again",),
    ),
    Fault(
        "the number of cores enters the training",
        "rules/train.smk",
        "    threads: 1\n",
        "    threads: ALL_CORES\n",
        (
            "tests/workflow/test_workflow.py::test_the_number_of_cores_enters_no_network_that_is_differentiated",
        ),
    ),
)


def copy_checkout(folder: Path) -> Path:
    """The checkout's tracked and new files in `folder`, which it returns; no results and no caches."""
    ignore = shutil.ignore_patterns(
        *(".*", "__pycache__", "*.egg-info", "results", "build", "node_modules", "mlruns")
    )
    return Path(shutil.copytree(REPOSITORY, folder, ignore=ignore))


def failed(root: Path, tests: tuple[str, ...]) -> dict[str, bool]:
    """Whether each test function of `tests` failed in the checkout `root`. Raises `SystemExit`: one did not
    run, as where a file cannot be imported."""
    report = root / "tests.xml"
    report.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    outcomes: dict[str, bool] = {}
    for case in ET.parse(report).iter("testcase") if report.exists() else ():
        if case.find("error") is None and case.find("skipped") is None:
            name = str(case.get("name")).partition("[")[0]
            outcomes[name] = outcomes.get(name, False) or case.find("failure") is not None
    names = {test: test.rpartition("::")[2] for test in tests}
    if missing := [test for test, name in names.items() if name not in outcomes]:
        raise SystemExit(f"{', '.join(missing)}: did not run\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return {test: outcomes[name] for test, name in names.items()}


def main() -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("words", nargs="*", help="plant only the faults whose names hold one of these")
    words = parser.parse_args().words
    chosen = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    began, survived = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="camground-faults-") as name:
        root = copy_checkout(Path(name, "checkout"))
        for fault in chosen:
            fault.planted(root)
        without = {test: False for fault in chosen for test in fault.tests}
        without = failed(root, tuple(without))
        width = max(len(fault.name) for fault in chosen)
        for fault in chosen:
            file = root / fault.path
            sound = file.read_text(encoding="utf-8")
            file.write_text(fault.planted(root), encoding="utf-8")
            noticed = failed(root, fault.tests)
            file.write_text(sound, encoding="utf-8")
            for test, notices in noticed.items():
                said = "fails without it" if without[test] else "caught" if notices else "SURVIVES"
                survived += said != "caught"
                print(f"{fault.name:{width}}  {said:16}  {test}", flush=True)
    caught = len(chosen) if not survived else "not all"
    print(f"{caught} of {len(chosen)} faults caught, {time.monotonic() - began:.0f} s")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
