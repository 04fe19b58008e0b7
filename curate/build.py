"""The whole data half in one call: sources -> verdicts -> renders -> shards -> page."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from curate.asset import give_up
from curate.card import write_card
from curate.catalogue import Gathered, gather
from curate.cluster import RayOptions, Worker, run_here, run_on_ray, upload_on_ray, window_size
from curate.collect import Collector, Missing
from curate.config import BuildConfig
from curate.cost import CostModel
from curate.display import Display
from curate.interrupts import Interrupts
from curate.job import Job
from curate.nodes import needs_of
from curate.plan import Plan, make_plan, plan_of_new
from curate.report import write_report
from curate.run_folder import RunFolder
from curate.store_run import StoreRun
from curate.window import Window
from render.lights import light_file
from shards.errors import ConfigError, MachineError
from shards.mirror import mirrored, push
from shards.objects import Objects, is_object_url
from shards.store_write import StoreShardWriter


@dataclass(frozen=True, slots=True)
class Options:
    """How to run, as opposed to what comes out; ``worker`` is what runs in the Ray actors."""

    workers: int = 0
    update: bool = False
    retry_failed: bool = False
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    worker: type[Worker] = Worker
    ray: RayOptions = field(default_factory=RayOptions)


def build(
    inputs: Sequence[str | Path], out: Path | str, config: BuildConfig, options: Options
) -> Collector:
    """Bring a RUN to completion; what an earlier run finished is not done again.

    Args:
        inputs: see ``curate.catalogue``.
        out: the RUN: a folder, or the URL of an object store.
        config: what comes out.
        options: how to run, and which lists select the inputs.

    Returns:
        The collector, with the counts by verdict and rule.

    Raises:
        ConfigError: an input or a list is missing, or holds no asset.
        RunError: the RUN is in use, or was made with other settings.
        MachineError: the disk is full, or the RUN cannot be written any more.
    """
    try:
        return _build(inputs, out, config, options)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise MachineError(
            f"{out}: stopped: {what}. Once that is mended, the same command goes on from here"
        ) from error


def _build(
    inputs: Sequence[str | Path], out: Path | str, config: BuildConfig, options: Options
) -> Collector:
    gathered = _gather(inputs, config, options)
    sources = gathered.sources
    run = _open(out, config, options, update=options.update)
    started = time.monotonic()
    with (
        contextlib.closing(run),
        (run.path / "logs" / "build.jsonl").open("a", buffering=1) as stream,
        Interrupts() as interrupts,
    ):
        log = structlog.wrap_logger(
            structlog.WriteLogger(stream),
            processors=[
                structlog.processors.TimeStamper("iso"),
                structlog.processors.JSONRenderer(),
            ],
        )
        log.info("start", sources=len(sources), workers=options.workers, versions=run.versions)
        if gathered.left_out or gathered.not_found:
            log.info("lists", left_out=gathered.left_out, not_found=gathered.not_found)
        with interrupts.shielded():
            run.begin()
            collector = Collector(run, sources)
            missing = collector.take_over()
        log.info("plan", missing=len(missing))
        if missing:
            _work(run, missing, collector, options, log, interrupts)
        with interrupts.shielded():
            collector.flush()
            counts = {"assets": collector.assets, **collector.verdicts, "rules": collector.rules}
            run.finish(counts)
        log.info("end", seconds=time.monotonic() - started, **collector.verdicts)
    _write_pages(out, config)
    return collector


def _open(out: Path | str, config: BuildConfig, options: Options, *, update: bool) -> RunFolder:
    if is_object_url(out):
        return StoreRun(
            str(out), config, update=update, retry_failed=options.retry_failed,
            keeps=not options.workers,
        )  # fmt: skip
    return RunFolder(Path(out), config, update=update, retry_failed=options.retry_failed)


def _write_pages(out: Path | str, config: BuildConfig) -> None:
    if not is_object_url(out):
        write_report(Path(out))
        write_card(Path(out))
        return
    objects = Objects(str(out), config.store)
    with mirrored(objects) as folder:
        write_report(folder)
        write_card(folder)
        push(objects, folder, "report")


def plan(
    inputs: Sequence[str | Path], out: Path | str, config: BuildConfig, options: Options
) -> Plan:
    """Tell what a build would do, without doing it; with other settings what --update would."""
    sources = _gather(inputs, config, options).sources
    there = (
        StoreRun.exists(str(out), config) if is_object_url(out) else Path(out, "run.json").exists()
    )
    if not there:
        return plan_of_new(sources)
    run = _open(out, config, options, update=True)
    with contextlib.closing(run):
        return make_plan(run, sources)


def _gather(inputs: Sequence[str | Path], config: BuildConfig, options: Options) -> Gathered:
    gathered = gather(inputs, config.fetch, options.allow, options.deny)
    if not gathered.sources:
        reasons = ", ".join(f"{reason}: {n}" for reason, n in gathered.left_out.most_common())
        raise ConfigError(f"nothing was selected ({reasons})")
    return gathered


def _work(
    run: RunFolder,
    missing: Missing,
    collector: Collector,
    options: Options,
    log: structlog.typing.WrappedLogger,
    interrupts: Interrupts,
) -> None:
    roots = sorted(collector.sources.roots)
    if (environment := light_file(run.config.render.lights)) is not None:
        roots.append(environment)  # the sandbox lets Blender read this one file
    jobs = (
        Job(
            source,
            run.config,
            run.versions,
            run.staging(source).absolute(),  # workers of a cluster start elsewhere
            run.committed(source.uid),
            run.names_taken_down(source.uid),
            store=run.objects if isinstance(run, StoreRun) else None,
            keeps=not options.workers,
        )
        for source in missing
    )
    size = window_size(replace(options.ray, workers=options.workers), run.config.limits.window)
    window = Window(jobs, size, CostModel(run.config), len(missing))
    with contextlib.ExitStack() as while_working:
        if options.workers:
            if isinstance(run.writer, StoreShardWriter):
                run.writer.upload = upload_on_ray
            said = run.path.absolute() / "logs" / "workers.log"
            ray_options = replace(options.ray, workers=options.workers, log=said)
            firsts = list(collector.sources.roots.values())
            place = run.objects if isinstance(run, StoreRun) else run.path
            needs = while_working.enter_context(needs_of(firsts, roots, place))
            outcomes = run_on_ray(window, run.config, roots, ray_options, options.worker, needs)
        else:
            outcomes = run_here(window.in_order(), run.config, roots)
        display = while_working.enter_context(Display(collector, window))
        while_working.enter_context(contextlib.closing(outcomes))
        for outcome in outcomes:
            job, fault = outcome.job, outcome.fault
            with interrupts.shielded():
                if fault:
                    give_up(job, fault, outcome.log_tail)
                rows = run.finished_rows(job.source, outcome.document)
                collector.finished(job.source, rows)
            verdicts = [row["verdict"] for row in rows]
            log.info("asset", path=job.source.path, verdicts=verdicts, fault=fault)
            display.advance(job.source.path, rows)
