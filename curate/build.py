"""The whole data half in one call: sources -> verdicts -> renders -> shards -> page."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from curate.asset import give_up
from curate.card import write_card
from curate.catalogue import Gathered, gather
from curate.clip import Job
from curate.cluster import Outcome, run_here, run_on_ray
from curate.collect import Collector
from curate.config import BuildConfig
from curate.display import Display
from curate.report import write_report
from curate.run_folder import RunFolder
from curate.sources import Source
from render.lights import light_file
from shards.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Options:
    """How to run, as opposed to what comes out."""

    workers: int = 0
    update: bool = False
    retry_failed: bool = False
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build would do."""

    settled: int
    staged: int
    missing: int


def build(
    inputs: Sequence[str | Path], out: Path, config: BuildConfig, options: Options
) -> Collector:
    """Bring a RUN folder to completion; what an earlier run finished is not done again.

    Args:
        inputs: see ``curate.catalogue``.
        out: the RUN folder.
        config: what comes out.
        options: how to run, and which lists select the inputs.

    Returns:
        The collector, with the counts by verdict and rule.

    Raises:
        ConfigError: an input or a list is missing, or holds no asset.
        RunError: the folder is in use, or was made with other settings.
    """
    gathered = _gather(inputs, config, options)
    sources = gathered.sources
    run = RunFolder(out, config, update=options.update, retry_failed=options.retry_failed)
    started = time.monotonic()
    with contextlib.closing(run), (out / "logs" / "build.jsonl").open("a") as stream:
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
        run.begin()
        collector = Collector(run, sources)
        missing = collector.take_over()
        log.info("plan", missing=len(missing))
        _work(run, missing, collector, options, log)
        collector.flush()
        run.finish({"assets": collector.assets, **collector.verdicts, "rules": collector.rules})
        log.info("end", seconds=time.monotonic() - started, **collector.verdicts)
    write_report(out)
    write_card(out)
    return collector


def plan(inputs: Sequence[str | Path], out: Path, config: BuildConfig, options: Options) -> Plan:
    """Tell what a build would do, without doing it."""
    sources = _gather(inputs, config, options).sources
    if not (out / "run.json").exists():
        return Plan(0, 0, len(sources))
    run = RunFolder(out, config, update=options.update, retry_failed=options.retry_failed)
    try:
        staged = sum(run.staged_rows(source) is not None for source in sources)
        settled = sum(
            run.staged_rows(source) is None and run.settled_rows(source) is not None
            for source in sources
        )
    finally:
        run.close()
    return Plan(settled, staged, len(sources) - settled - staged)


def _gather(inputs: Sequence[str | Path], config: BuildConfig, options: Options) -> Gathered:
    gathered = gather(inputs, config.fetch, options.allow, options.deny)
    if not gathered.sources:
        reasons = ", ".join(f"{reason}: {n}" for reason, n in gathered.left_out.most_common())
        raise ConfigError(f"nothing was selected ({reasons})")
    return gathered


def _work(
    run: RunFolder,
    missing: list[Source],
    collector: Collector,
    options: Options,
    log: structlog.typing.WrappedLogger,
) -> None:
    roots = sorted({source.root for source in missing if source.remote is None})
    if (environment := light_file(run.config.render.lights)) is not None:
        roots.append(environment)  # the sandbox lets Blender read this one file
    jobs = (
        Job(
            source,
            run.config,
            run.versions,
            run.staging(source),
            run.committed(source.uid),
            run.names_taken_down(source.uid),
        )
        for source in missing
    )
    outcomes: Iterator[Outcome]
    if not missing:
        outcomes = iter(())
    elif options.workers:
        outcomes = run_on_ray(jobs, run.config, roots, options.workers)
    else:
        outcomes = run_here(jobs, run.config, roots)
    with Display(collector, len(missing)) as display:
        for job, fault in outcomes:
            if fault:
                give_up(job, fault)
            rows = run.finished_rows(job.source)
            collector.finished(job.source, rows)
            verdicts = [row["verdict"] for row in rows]
            log.info("asset", path=job.source.path, verdicts=verdicts, fault=fault)
            display.advance(job.source.path, rows)
