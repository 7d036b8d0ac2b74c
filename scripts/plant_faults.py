"""Plant faults in copies of the source, one at a time, and print which of them the tests catch.

    python scripts/plant_faults.py [NAME ...] [--jobs N]

A fault replaces a text that is in one place of one file, and names the tests that must fail for it: those that say the
behaviour which it breaks. Nothing is planted in the checkout. The exit status is 1 where a fault survives one of its
tests, or is stale because its text is gone, or where a test fails with nothing planted.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "build", "runs", "shared", "docs", "*.egg-info")
CHECKPOINTS = Path("miniature/checkpoints")  # nine tenths of a checkout, and no source: copies have a link
# what the tests import of others' packages, which takes far longer than the tests: once for all of them
PRELOADED = (
    "pytest", "hypothesis", "torch", "torchvision", "numpy", "pandas", "pyarrow.parquet", "scipy.cluster.hierarchy",
    "scipy.stats", "sklearn.cluster", "open_clip", "transformers.models.clip.modeling_clip",
    "transformers.models.blip.modeling_blip", "diffusers.pipelines.kandinsky2_2.pipeline_kandinsky2_2",
    "diffusers.pipelines.kandinsky2_2.pipeline_kandinsky2_2_prior", "diffusers.models.unets.unet_2d_condition",
    "diffusers.models.autoencoders.vq_model", "diffusers.schedulers.scheduling_unclip", "torch.utils.flop_counter",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """A mistake in one place.

    Attributes:
        name: of the fault, in a table.
        file: relative to the checkout.
        old: the text that is there, once.
        new: what takes its place.
        tests: the node ids that must fail; without brackets, any of a test's parameters may.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of a fault: ``caught``, ``SURVIVED`` or ``stale``, and why."""

    fault: Fault
    result: str
    reason: str

    def __str__(self) -> str:
        return f"| {self.fault.name} | `{self.fault.file}` | {self.result} | {self.reason.replace('|', '/')} |"


JOBS, GRID, PASSES = "tests/sweeps/test_jobs.py::", "tests/sweeps/test_grid.py::", "tests/sweeps/test_passes.py::"
DESCRIBE, SCORE = "tests/sweeps/test_describe.py::", "tests/sweeps/test_score.py::"
GENERATE, REFERENCES = "tests/sweeps/test_generate.py::", "tests/sweeps/test_references.py::"
EXECUTOR, LOCAL = "tests/generators/test_executor.py::", "tests/sweeps/executors/test_local.py::"
FILES, FRAME, FLOPS = "tests/common/test_files.py::", "tests/reports/test_frame.py::", "tests/metrics/test_flops.py::"
COLUMNS, DELIVERY = "tests/bench/test_prompt_columns.py::", "tests/bench/test_generate_delivery.py::"
INTERVAL, REUSE = "tests/generators/test_guidance_interval.py::", "tests/generators/test_row_reuse.py::"
OWN_CELL = GRID + "test_every_way_to_share_is_a_cell_of_its_own"

FAULTS = (
    # --- which pictures are the baseline's ---------------------------------------------------------------------
    Fault(
        "cached cells are given the baseline's pictures",
        "sweeps/jobs.py",
        "solo = self.plan.solo & (self.cache is None)",
        "solo = self.plan.solo",
        (JOBS + "test_under_a_denoiser_cache_no_picture_is_the_baselines",),
    ),
    Fault(
        "one stream of noise reuses some pictures",
        "sweeps/jobs.py",
        "return solo & solo.all() if self.one_stream else solo",
        "return solo",
        (JOBS + "test_in_one_stream_of_noise_all_pictures_are_the_baselines_or_none",),
    ),
    Fault(
        "isolated jobs reuse pictures",
        "sweeps/jobs.py",
        "if self.reuses is None or isolate else",
        "if self.reuses is None else",
        (
            JOBS + "test_isolated_everything_is_denoised",
            GENERATE + "test_isolated_nothing_is_reused_and_no_seconds_count_twice",
        ),
    ),
    Fault(
        "references reuse pictures",
        "sweeps/jobs.py",
        'return self.baseline if self.role == "sharing" else None',
        "return self.baseline",
        (JOBS + "test_a_reference_denoises_every_prompt_though_nobody_shares",),
    ),
    Fault(
        "a picture is the baseline's by its place",
        "sweeps/pictures.py",
        "baseline.get(name) == content for",
        "name in baseline for",
        (SCORE + "test_a_picture_is_the_baselines_where_its_file_is_that_of_the_same_prompt",),
    ),
    Fault(
        "a picture is the baseline's by its hash among another prompt's",
        "sweeps/pictures.py",
        "baseline.get(name) == content for",
        "content in baseline.values() for",
        (SCORE + "test_a_picture_is_the_baselines_where_its_file_is_that_of_the_same_prompt",),
    ),
    Fault(
        "a cell beside another baseline is kept",
        "sweeps/generate.py",
        "if stale := manifest.baseline != baseline.manifest.hash:",
        "if stale := False:",
        (GENERATE + "test_a_cell_that_was_made_beside_another_baseline_is_made_again[the baseline is there]",),
    ),
    Fault(
        "a cell is kept whose baseline is made again",
        "sweeps/generate.py",
        "for _ in range(2):",
        "for _ in range(1):",
        (GENERATE + "test_a_cell_that_was_made_beside_another_baseline_is_made_again[the baseline is made again]",),
    ),
    # --- jobs that are denoised as one -------------------------------------------------------------------------
    Fault(
        "cached cells are denoised with others",
        "sweeps/jobs.py",
        "return self.cache is not None or self.one_stream or",
        "return self.one_stream or",
        (JOBS + "test_what_a_cache_or_a_stream_remembers_and_what_is_to_be_timed_is_of_one_job",),
    ),
    Fault(
        "equal-compute baselines are denoised with others",
        "sweeps/jobs.py",
        "or self.one_stream or self.role in EQUAL",
        "or self.one_stream",
        (
            JOBS + "test_what_a_cache_or_a_stream_remembers_and_what_is_to_be_timed_is_of_one_job",
            REFERENCES + "test_two_seeds_equal_compute_baselines_are_denoised_apart",
        ),
    ),
    # --- seconds and joules ------------------------------------------------------------------------------------
    Fault(
        "wall savings are claimed of shared seconds",
        "reports/frame.py",
        " or record.shared_seconds or record.sample:",
        " or record.sample:",
        (FRAME + "test_no_wall_savings_are_claimed_where_seconds_are_a_share_of_a_unions",),
    ),
    Fault(
        "seconds that the baseline shared are forgotten",
        "sweeps/describe.py",
        "not (_measured(ours) and _measured(theirs))",
        "not _measured(ours)",
        (
            DESCRIBE + "test_in_older_manifests_seconds_are_shared_where_either_was_denoised_in_company[0-3-True]",
            DESCRIBE + "test_seconds_are_those_of_the_pictures_where_both_were_isolated[True-False-True]",
        ),
    ),
    Fault(
        "seconds of reused pictures are not added",
        "sweeps/generate.py",
        'timings["reused"] = taken * float(reused.sum() / job.pictured.sum())',
        'timings["reused"] = 0.0',
        (GENERATE + "test_seconds_of_the_baselines_pictures_count_for_every_cell_that_reuses_them",),
    ),
    Fault(
        "seconds of reused pictures are all added",
        "sweeps/generate.py",
        'timings["reused"] = taken * float(reused.sum() / job.pictured.sum())',
        'timings["reused"] = taken',
        (GENERATE + "test_seconds_of_the_baselines_pictures_count_for_every_cell_that_reuses_them",),
    ),
    Fault(
        "isolated cells have the baseline's seconds too",
        "sweeps/generate.py",
        "        if not session.isolate:\n            execution = execution.model_copy",
        "        if True:\n            execution = execution.model_copy",
        (GENERATE + "test_isolated_nothing_is_reused_and_no_seconds_count_twice",),
    ),
    Fault(
        "seconds of reused pictures save wall time",
        "reports/frame.py",
        '"decode", "write", "reused")',
        '"decode", "write")',
        (FRAME + "test_wall_savings_count_encoding_once_for_both_and_no_scoring",),
    ),
    Fault(
        "cells have the seconds of encoding",
        "sweeps/generate.py",
        "    if job.reuses is None:\n        timings |= session.encoding_seconds(job.source)\n    else:",
        "    timings |= session.encoding_seconds(job.source)\n    if job.reuses is not None:",
        (GENERATE + "test_encoding_is_among_the_baselines_seconds_alone",),
    ),
    Fault(
        "a union's seconds are shared out a head",
        "sweeps/executors/local.py",
        '"denoise": rows / rows.sum()',
        '"denoise": np.full(len(rows), 1 / len(rows))',
        (LOCAL + "test_seconds_of_a_union_are_shared_out_by_denoiser_evaluations",),
    ),
    Fault(
        "seconds before a kill are forgotten",
        "sweeps/executors/local.py",
        "(checkpoints.seconds if checkpoints else 0.0) + execution.seconds_before",
        "(checkpoints.seconds if checkpoints else 0.0)",
        (LOCAL + "test_seconds_before_a_kill_count",),
    ),
    Fault(
        "a cell's joules are not recorded",
        "sweeps/generate.py",
        "joules=outcome.joules,",
        "joules=None,",
        ("tests/sweeps/test_energy.py::test_records_say_what_their_pictures_took",),
    ),
    Fault(
        "a cell's joules are recorded as its baseline's",
        "sweeps/describe.py",
        '"baseline_joules": theirs.joules',
        '"baseline_joules": ours.joules',
        (DESCRIBE + "test_joules_and_seconds_of_both_are_told_apart",),
    ),
    # --- compute -----------------------------------------------------------------------------------------------
    *(
        Fault(
            f"calls of components counted {unit} are dropped",
            "metrics/flops.py",
            "count(component) * component.calls * units",
            f'count(component) * (1 if component.unit == "{key}" else component.calls) * units',
            (FLOPS + f"test_every_call_counts_whatever_a_component_is_counted_by[{key}-{units}]",),
        )
        for unit, key, units in (("an image", "image", 7), ("a prompt", "prompt", 5), ("a node-step", "node_step", 60))
    ),
    Fault(
        "what a denoiser cache skips is counted",
        "sweeps/describe.py",
        "spent = price(components, n, plan.evaluations, n, ours.execution.skipped)",
        "spent = price(components, n, plan.evaluations, n)",
        (DESCRIBE + "test_what_a_denoiser_cache_skipped_is_not_in_the_flops_and_the_baseline_skips_nothing",),
    ),
    Fault(
        "an equal-compute baseline saves nothing",
        "sweeps/describe.py",
        "ours.plan.model_copy(update=baseline)",
        "ours.plan",
        (DESCRIBE + "test_an_equal_compute_baseline_saves_what_its_fewer_steps_save",),
    ),
    Fault(
        "equal compute is the count below",
        "sweeps/references.py",
        "min(tried, key=off, default=None)",
        "max((one for one in tried if _rows_of_one(one, guided) <= budget), key=lambda one: one.steps, default=None)",
        (REFERENCES + "test_the_nearest_number_of_evaluations_is_taken_from_above_or_below",),
    ),
    Fault(
        "equal compute is the first guess",
        "sweeps/references.py",
        "range(max(1, guess - 1), guess + 2)",
        "range(max(1, guess), guess + 1)",
        (REFERENCES + "test_the_steps_around_the_guess_are_tried_where_a_scheduler_makes_more_evaluations_than_steps",),
    ),
    Fault(
        "savings that are not near the target are taken",
        "sweeps/plan.py",
        "if abs(nearest.savings - float(target)) <= NEAR:",
        "if True:",
        ("tests/sweeps/test_plan.py::test_a_level_that_is_out_of_reach_is_told_by_name_and_left_out",),
    ),
    # --- identities --------------------------------------------------------------------------------------------
    *(
        Fault(f"a cell's id has no {name}", "sweeps/grid.py", old, new, (f"{OWN_CELL}[{name}]",))
        for name, old, new in (
            (
                "combiner",
                '"combiner": {"name": self.config.combiner, "version": get_combiner(self.config.combiner).version},',
                "",
            ),
            ("features", '"features": self.config.features,', ""),
            ("schedule", '"schedule": self.schedule.identity,', ""),
            ("tau", '"tau": canonical(self.config.tau),', ""),
            ("strategy", '"name": self.strategy.name,', ""),
            ("parameters", '"parameters": self.strategy.model_dump(mode="json"),', ""),
        )
    ),
    Fault(
        "a cell's id has no denoiser cache",
        "sweeps/grid.py",
        '**({"denoiser_cache": self.denoiser_cache.identity} if self.denoiser_cache else {}),',
        "",
        (
            "tests/sweeps/test_denoiser_caches.py::"
            "test_a_cache_and_its_parameters_are_of_a_cell_and_not_of_standard_images",
        ),
    ),
    Fault(
        "conditioning has no seed of the prior",
        "sweeps/grid.py",
        '"embedding_seed": self.settings.embedding_seed,',
        "",
        (GRID + "test_another_seed_of_the_prior_is_another_conditioning",),
    ),
    Fault(
        "a checkpoint is of any plan",
        "sweeps/executors/local.py",
        "canonical_json([sources, plan.digest, *part])",
        "canonical_json([sources, *part])",
        (LOCAL + "test_a_checkpoint_is_of_the_plan_that_was_denoised_and_of_no_other",),
    ),
    # --- nothing silently wrong ---------------------------------------------------------------------------------
    Fault(
        "numbers that overflow pass for a picture",
        "generators/executor.py",
        "self.overflow[lost[self.overflow[lost] < 0]] = k",
        "pass",
        ("tests/generators/test_overflow.py::test_a_cluster_that_overflows_costs_its_prompts_and_no_other",),
    ),
    Fault(
        "a changed bit of a record is believed",
        "common/files.py",
        "if digest is not None and digest != sha256_text(canonical_json(content)):",
        "if False:",
        ("tests/sweeps/test_record.py::test_no_bit_of_a_record_can_change",),
    ),
    Fault(
        "a record's id is believed, whatever its identity",
        "sweeps/record.py",
        "of_identity = digest is None or record.id == sha256_text(canonical_json(record.identity))[:ID]",
        "of_identity = True",
        ("tests/sweeps/test_record.py::test_a_record_names_nothing_outside_of_its_run",),
    ),
    Fault(
        "a torn picture of a killed group counts",
        "sweeps/delivery/files.py",
        "return set(hashes) - {name for name, _ in self.images(folder).faults(hashes)}",
        "return set(hashes)",
        (
            "tests/sweeps/test_unfinished.py::test_a_picture_that_is_not_what_was_written_is_not_there",
            LOCAL + "test_killed_while_decoding_what_is_written_counts_and_a_torn_picture_does_not",
        ),
    ),
    Fault(
        "a column that names pictures is passed over",
        "reusebench/external_images.py",
        "return cls(path, prompts, prompts.columns[named], named)",
        "return cls(path, prompts)",
        ("tests/reusebench/test_pairing.py::test_the_column_of_files_is_found_as_people_write_it",),
    ),
    # --- scores ------------------------------------------------------------------------------------------------
    Fault(
        "a picture that is the baseline's is measured again",
        "sweeps/score.py",
        "own = np.ones(len(prompts), dtype=np.bool_) if same is None else ~same",
        "own = np.ones(len(prompts), dtype=np.bool_)",
        (SCORE + "test_a_picture_that_is_the_baselines_is_not_measured_again_and_ties_to_the_bit",),
    ),
    Fault(
        "scores are put into other rows",
        "sweeps/score.py",
        "whole[column][own] = columns[column]",
        "whole[column][: len(columns[column])] = columns[column]",
        (SCORE + "test_every_picture_has_the_score_of_its_own_file",),
    ),
    Fault(
        "baselines are measured once a cell",
        "sweeps/score.py",
        "if folder not in self._baselines:",
        "if True:",
        (SCORE + "test_one_folder_of_baselines_is_measured_once_for_all_cells_beside_it",),
    ),
    Fault(
        "what is measured is measured again",
        "sweeps/score.py",
        "known = {} if self.again else scores.scorers",
        "known = {}",
        (SCORE + "test_what_was_measured_is_not_measured_again_unless_asked",),
    ),
    Fault(
        "scores of other pictures are used",
        "sweeps/scores.py",
        'if about.get("pictures") != pictures:',
        "if False:",
        ("tests/sweeps/test_scores.py::test_other_pictures_have_no_scores",),
    ),
    Fault(
        "pictures are compared with another baseline than theirs",
        "sweeps/score.py",
        "if manifest.baseline != baseline.manifest.hash:",
        "if False:",
        (SCORE + "test_pictures_beside_another_baseline_than_their_own_are_not_compared",),
    ),
    # --- which prompts are made, and with what -----------------------------------------------------------------
    Fault(
        "a prompt's own seed is ignored",
        "generators/noise.py",
        "return int(named.removeprefix(SEED)), rest",
        "return seed, rest",
        (
            "tests/generators/test_noise.py::"
            "test_prompts_with_seeds_of_their_own_have_the_noise_of_a_run_with_that_seed_also_among_several_sources",
        ),
    ),
    Fault(
        "prompts of different negative prompts share",
        "generators/prompts.py",
        "numbers.setdefault(one, len(numbers))",
        "numbers.setdefault(one._replace(negative_prompt=''), len(numbers))",
        (COLUMNS + "test_prompts_share_with_their_like_alone",),
    ),
    Fault(
        "a sample is drawn from the first prompts",
        "sweeps/sample.py",
        'lots = sorted(stratum, key=lambda row: sha256_text(f"{seed} {keys[row]}"))',
        "lots = stratum",
        (
            "tests/sweeps/test_sample.py::test_every_prompt_is_drawn_as_often_as_any_other",
            "tests/sweeps/test_sample.py::test_another_seed_draws_others",
        ),
    ),
    Fault(
        "the sample's finite-population correction is left out",
        "metrics/sampling.py",
        " * (1 - counts / sizes) * within",
        " * within",
        ("tests/metrics/test_sampling.py::test_over_all_draws_the_mean_and_its_variance_are_unbiased",),
    ),
    Fault(
        "renoise strength ignored",
        "generators/executor.py",
        "strength, memory = self.settings.renoise, pick",
        "strength, memory = 1.0, pick",
        ("tests/generators/test_renoising.py::test_copies_are_one_picture_without_it_and_differ_with_it",),
    ),
    # --- guidance in a part of the steps, and rows that siblings have in common --------------------------------
    Fault(
        "guidance is on in all steps",
        "generators/executor.py",
        "settings = self.settings if self.guided[k] else self.unguided",
        "settings = self.settings",
        (INTERVAL + "test_stable_diffusion_is_as_stock_where_a_callback_ends_guidance",),
    ),
    Fault(
        "guidance is on one step longer",
        "generators/guidance.py",
        "range(int(self.start * steps), int(self.stop * steps))",
        "range(int(self.start * steps), int(self.stop * steps) + 1)",
        (INTERVAL + "test_the_steps_are_those_of_diffusers_own_guider",),
    ),
    Fault(
        "a step without guidance counts two rows",
        "generators/sharing/evaluations.py",
        "self.guided * guided + self.unguided * unguided",
        "(self.guided + self.unguided) * guided",
        ("tests/generators/sharing/test_evaluations.py::test_rows_of_other_models",),
    ),
    Fault(
        "rows of equal sums are taken for each other",
        "generators/row_reuse.py",
        "if _same(known.inputs, row.inputs)",
        "if True",
        (REUSE + "test_rows_that_differ_in_anything_are_all_evaluated",),
    ),
    Fault(
        "what a failed batch evaluated is handed out",
        "generators/row_reuse.py",
        "self._kept, self.reused = before, reused",
        "self.reused = reused",
        (REUSE + "test_a_batch_that_fails_is_tried_again_as_if_it_had_not_been",),
    ),
    Fault(
        "a node that goes on with its cluster takes an x0 of its own",
        "generators/executor.py",
        "begins & ~fresh & ~pictured & (_digests(self.keys) != served).any(axis=1)",
        "begins & ~fresh",
        ("tests/generators/test_own_x0.py::test_a_node_that_goes_on_with_its_cluster_keeps_its_x0",),
    ),
    Fault(
        "a solver remembers the cluster's x0 after a split",
        "generators/sampler.py",
        "for leaf, share in zip(memory, remembered[k], strict=True)",
        "for leaf, share in zip(memory, [0.0] * len(memory), strict=True)",
        ("tests/generators/test_own_x0.py::test_a_solver_goes_on_as_if_the_own_x0_had_always_been_there",),
    ),
    # --- waves, shards and destinations ------------------------------------------------------------------------
    Fault(
        "a wave's states of another cut are believed",
        "generators/node_states.py",
        'if about["identity"] != self.identity:',
        "if False:",
        ("tests/generators/test_node_states.py::test_what_another_cut_or_plan_left_is_not_there",),
    ),
    Fault(
        "a damaged picture's wave is not made again",
        "sweeps/waves.py",
        "if lacking[wave] or (asked[wave] and not self.noted(wave)):",
        "if asked[wave] and not self.noted(wave):",
        (LOCAL + "test_a_picture_that_is_damaged_after_its_wave_was_done_has_its_wave_made_again",),
    ),
    Fault(
        "an object lost at the destination is not noticed",
        "sweeps/delivery/files.py",
        'if listed is None:\n                yield name, "missing"\n',
        "if listed is None:\n",
        (
            DELIVERY + "test_pictures_go_to_a_bucket_and_what_is_lost_there_is_made_again",
            DELIVERY + "test_an_interrupted_delivery_goes_on",
        ),
    ),
    Fault(
        "a shard of conditioning is read at the wrong row",
        "generators/conditioning.py",
        "at[here] - (int(ends[number]) - len(table))",
        "np.minimum(at[here], len(table) - 1)",
        ("tests/generators/test_conditioning.py::test_rows_taken_of_shards_are_those_of_the_whole",),
    ),
    # --- what is on disk ---------------------------------------------------------------------------------------
    Fault(
        "files are written in place",
        "common/files.py",
        "        yield beside\n",
        "        yield path\n        return\n",
        (
            FILES + "test_whoever_reads_while_a_file_is_written_reads_what_it_was",
            FILES + "test_a_process_that_dies_while_it_writes_leaves_what_was_there",
        ),
    ),
    Fault(
        "half a file takes the place of a whole one",
        "common/files.py",
        "    finally:\n        beside.unlink(missing_ok=True)",
        "    finally:\n        if beside.exists():\n            beside.replace(path)",
        (FILES + "test_a_file_is_whole_or_what_it_was",),
    ),
    Fault(
        "a resumed run forgets its halved batch",
        "generators/executor.py",
        "self.calls, self.rows, self.batches.size = checkpoint.calls, checkpoint.rows, checkpoint.batch_size",
        "self.calls, self.rows = checkpoint.calls, checkpoint.rows",
        (EXECUTOR + "test_a_resumed_run_keeps_the_batch_that_memory_allowed",),
    ),
    Fault(
        "a failed record takes the place of one that is done",
        "sweeps/passes.py",
        "# in place of nothing that is done",
        "; kept = False",
        (PASSES + "test_a_failure_does_not_replace_a_record_that_is_done",),
    ),
    Fault(
        "a failed cell is done",
        "sweeps/store.py",
        'return record if record.status == "done" else None',
        "return record",
        (PASSES + "test_a_cell_whose_pictures_are_there_and_whose_record_failed_is_only_described_again",),
    ),
    # --- rows that strangers hand in, and servers that reuse ------------------------------------------------------
    Fault(
        "a row that was edited is believed",
        "tasks/row.py",
        "if row.sha256 != row.content_hash:",
        "if row.sha256 is None:",
        ("tests/tasks/test_judge.py::test_an_edited_row_is_refused",),
    ),
    Fault(
        "the baseline's own pictures may cost nothing",
        "tasks/submission.py",
        "least = len(own) * rows + different",
        "least = different",
        ("tests/tasks/test_submission.py::test_the_baselines_own_pictures_cost_what_they_cost",),
    ),
    Fault(
        "rows whose intervals overlap are ranked apart",
        "tasks/ranking.py",
        "better[ours, theirs] = apart(rows[ours], rows[theirs])",
        "better[ours, theirs] = span[ours][0] > span[theirs][0]",
        ("tests/tasks/test_ranking.py::test_intervals_that_overlap_share_ranks",),
    ),
    Fault(
        "a request that wants no reuse leaves its latents",
        "serving/engine.py",
        "return self.wanted.reuse and self.number == 0",
        "return self.number == 0",
        ("tests/serving/test_engine.py::test_who_wants_no_reuse_takes_nothing_and_leaves_nothing",),
    ),
    Fault(
        "a server's cache takes the least similar request",
        "serving/shelf.py",
        "return list(self._rows)[int(np.argmax(similar))], float(similar.max())",
        "return list(self._rows)[int(np.argmin(similar))], float(similar.max())",
        ("tests/serving/test_shelf.py::test_requests_one_by_one_start_where_the_plan_of_their_stream_has_them_start",),
    ),
)


@dataclass(eq=False)
class Heard:
    """A plug-in of pytest that keeps what fails, and why; and what errs before or after it runs."""

    failures: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and report.when == "call":
            crash = getattr(report.longrepr, "reprcrash", None)
            message = crash.message if crash else report.longreprtext
            self.failures[report.nodeid] = message.strip().partition("\n")[0]
        elif report.failed:
            self.errors.append(report.nodeid)


def check(
    faults: Sequence[Fault], root: Path = ROOT, jobs: int = 2, preloaded: Sequence[str] = PRELOADED
) -> Iterator[Outcome]:
    """Plant each fault in a copy of its own and run its tests; yield what came of it, in order.

    Args:
        faults: to plant.
        root: the checkout.
        jobs: how many are tried at once.
        preloaded: modules that need not be imported once a fault, where processes can be forked.
    """
    with ThreadPoolExecutor(jobs) as threads:
        yield from threads.map(partial(_tried, root=root, preloaded=preloaded), faults)


def failing(tests: Sequence[str], root: Path = ROOT, preloaded: Sequence[str] = PRELOADED) -> dict[str, str]:
    """Return those of these tests that fail with nothing planted, and why.

    Raises:
        RuntimeError: one is not there, or errs before it runs.
    """
    with _copy(root) as place:
        return _failures(tests, place, preloaded)


def _tried(fault: Fault, root: Path, preloaded: Sequence[str]) -> Outcome:
    text = (root / fault.file).read_text(encoding="utf-8")
    if (count := text.count(fault.old)) != 1:
        return Outcome(fault, "stale", f"its text is in {count} places")
    with _copy(root) as place:
        (place / fault.file).write_text(text.replace(fault.old, fault.new), encoding="utf-8")
        failures = _failures(fault.tests, place, preloaded)
    survived = [test for test in fault.tests if not any(_is_of(failure, test) for failure in failures)]
    if survived:
        return Outcome(fault, "SURVIVED", ", ".join(survived))
    return Outcome(fault, "caught", next(iter(failures.values())))


def _is_of(failure: str, test: str) -> bool:
    return failure == test or failure.startswith(f"{test}[")


@contextmanager
def _copy(root: Path) -> Iterator[Path]:
    """Yield a temporary copy of a checkout, without what no test of a fault reads."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "checkout"

        def left_out(directory: str, names: list[str]) -> set[str]:
            large = {CHECKPOINTS.name} if Path(directory) == root / CHECKPOINTS.parent else set()
            return LEFT_OUT(directory, names) | large

        shutil.copytree(root, place, ignore=left_out)
        if (root / CHECKPOINTS).is_dir():
            (place / CHECKPOINTS).symlink_to((root / CHECKPOINTS).resolve())
        yield place


def _failures(tests: Sequence[str], place: Path, preloaded: Sequence[str]) -> dict[str, str]:
    """Run tests in a copy, in a process of their own; return those that fail, and why.

    Raises:
        RuntimeError: one is not there, or errs before it runs, which would seem to catch anything.
    """
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    context.set_forkserver_preload(list(preloaded))
    with ProcessPoolExecutor(1, context) as process:
        return process.submit(_run, tests, place).result()


def _run(tests: Sequence[str], place: Path) -> dict[str, str]:
    """Do what `_failures` does, in a process that has imported nothing of ours."""
    import pytest

    os.chdir(place)
    sys.path.insert(0, str(place))
    os.environ["PYTHONPATH"] = str(place)  # of the processes that tests start
    heard, told = Heard(), StringIO()
    with redirect_stdout(told), redirect_stderr(told):
        status = pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", str(place), *tests], [heard])
    os.chdir(place.anchor)  # or Windows would not let the copy be taken away
    if heard.errors or status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"{' '.join(tests)} cannot run:\n{told.getvalue()}")
    if strangers := [name for name, module in list(sys.modules.items()) if _is_elsewhere(name, module, place)]:
        raise RuntimeError(f"imported, but not from the copy: {', '.join(strangers)}")
    return heard.failures


def _is_elsewhere(name: str, module: Any, place: Path) -> bool:
    """Return whether a module that the copy has was imported from somewhere else."""
    file = getattr(module, "__file__", None)
    top = name.partition(".")[0]
    return bool(file) and (place / top / "__init__.py").is_file() and not Path(file).is_relative_to(place)


def main(argv: Sequence[str] | None = None) -> int:
    """Plant the faults; return the exit status, 1 where one is not caught."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("names", nargs="*", metavar="NAME", help="faults whose names have this in them; all if none")
    options.add_argument("--jobs", type=int, default=2, metavar="N", help="how many are tried at once; 2")
    chosen = options.parse_args(argv)
    faults = [fault for fault in FAULTS if not chosen.names or any(name in fault.name for name in chosen.names)]
    if not faults:
        options.error(f"no fault is called so; there are: {'; '.join(fault.name for fault in FAULTS)}")
    os.environ.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    tests = list(dict.fromkeys(test for fault in faults for test in fault.tests))
    for test, reason in (broken := failing(tests)).items():
        print(f"fails with nothing planted: {test}: {reason}")
    if broken:
        return 1
    print(f"{len(tests)} tests pass with nothing planted.\n")
    print("| fault | file | result | by |\n| --- | --- | --- | --- |")
    outcomes = []
    for outcome in check(faults, jobs=chosen.jobs):
        print(outcome, flush=True)
        outcomes.append(outcome)
    caught = sum(outcome.result == "caught" for outcome in outcomes)
    print(f"\n{caught} of {len(outcomes)} faults are caught.")
    return int(caught < len(outcomes))


if __name__ == "__main__":
    sys.exit(main())
