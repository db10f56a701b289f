"""The commands: thin, each a few lines over a function that Python users can call."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from shieldwall.cli.app import PlainCommand, app, config_app, ledger_app
from shieldwall.core.errors import ConfigError, ShieldwallError

ConfigFile = Annotated[
    Path | None, typer.Argument(metavar="[CONFIG.toml]", help="Configuration; the embedded default if left out.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one key; may be given several times."),
]
RunDir = Annotated[Path | None, typer.Option("--run", metavar="DIR", help="The run's folder; runs/NAME if left out.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for scripts.")]


@app.command(cls=PlainCommand)
def train(
    config: ConfigFile = None,
    overrides: Overrides = None,
    run: RunDir = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in DIR from its last checkpoint.")
    ] = False,
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Let workers on other machines dial here; prints the ticket for them."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a model through the pipeline.

    Without a configuration this trains the embedded default: a small GPT-2 on the language reference that every
    Python carries, cut into six stages; minutes on two cores, no download.

    Ctrl-C stops at the end of the step and saves; the same command with --resume goes on bit for bit.

    With --listen the middle stages are on other machines: the run begins when all its workers have joined.
    """
    from shieldwall.config import Config
    from shieldwall.core.errors import RunFolderError
    from shieldwall.dashboard.progress import choose_view
    from shieldwall.run.allocator import keep_freed_memory
    from shieldwall.run.train import train as run_train

    keep_freed_memory()
    stored = run / "config.toml" if resume and run and (run / "config.toml").exists() else None
    given = Config.load(config or stored, overrides or ()) if config or overrides or not resume else None
    if resume and run is None and not (given and given.run.name):
        raise RunFolderError(
            "SW-R105",
            "it is not said which run to resume",
            where="--resume",
            expected="--run DIR, or a configuration with run.name",
            got="neither",
            remedy="shieldwall train --run runs/NAME --resume",
        )
    result = run_train(
        given, folder=run, resume=resume, view=choose_view(_errors(), quiet=as_json and not listen), listen=listen
    )
    if as_json:
        _print_json(result.summary.model_dump())
        return
    summary = result.summary
    _say(f"trained {summary.steps} steps: loss {summary.train_loss:.3f}, perplexity {summary.eval_perplexity:.2f}")
    _say(f"{summary.tokens_per_second:,.0f} tokens/s, {summary.wall_seconds:.1f} s in all")
    if summary.alerts or summary.verdicts:
        culprits = ", ".join(sorted({row["culprit"] for row in summary.verdicts})) or "nobody"
        _say(f"{summary.alerts} alerts, {len(summary.verdicts)} verdicts; found guilty: {culprits}")
    if summary.attacks_fired is not None:
        _say(f"attacks: {summary.attacks_fired:,} falsified")
    _say(f"weights root {summary.weights_root}")
    _say(f"model: {result.folder / 'model'}")


@app.command(cls=PlainCommand)
def plan(
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw the plan as a picture.")] = None,
) -> None:
    """Show what a step is going to do: its grid, predicted time, bubble and memory. Trains nothing.

    Costs are measured on this machine with one layer of each kind. The grid and the picture show the hosts on machines
    of their own; in one process they take turns.
    """
    from shieldwall.config import Config
    from shieldwall.run.memory import format_bytes
    from shieldwall.run.planning import plan as make_run_plan
    from shieldwall.schedule import draw_plan, render_grid

    if png is not None and (png.suffix != ".png" or not png.parent.is_dir()):
        raise ConfigError(
            "SW-C108",
            "the picture cannot be written there",
            where="--png",
            expected="a file ending in .png in a folder that exists",
            got=str(png),
        )
    found = make_run_plan(Config.load(config, overrides or ()))
    numbers = found.to_json()
    if png is not None:
        draw_plan(found.spread(), found.costs, png)
    if as_json:
        _print_json(numbers)
        return
    _say("each host on a machine of its own, in equal slots:")
    _say(render_grid(found.spread()))
    _say("")
    _say(f"cut                 {numbers['cut']} layers")
    _say(f"bubble              {numbers['bubble']:.4f} in equal slots, a host for each stage")
    _say(f"one process here    {numbers['step_seconds']:.3f} s a step")
    spread = numbers["spread"]
    _say(
        f"a machine each      {spread['step_seconds']:.3f} s a step, bubble {spread['bubble_predicted']:.4f},"
        " machines like this one, free links"
    )
    if found.plan.when:
        here_s, each_s = numbers["step_seconds_unchecked"], spread["step_seconds_unchecked"]
        checkers = [(stage, host) for host, stages in numbers["duplicates"].items() for stage in stages]
        _say(f"duplicates          {', '.join(f'{stage} at {host}' for stage, host in sorted(checkers))}")
        _say(f"unchecked           {here_s:.3f} s a step here, {each_s:.3f} s with a machine each")
    ways = {"up": "to the initiator", "down": "from it to workers", "between": "from worker to worker"}
    amounts = [(numbers["traffic"][way], where) for way, where in ways.items()]
    tensors = ", ".join(f"{each['tensors']} {where} ({format_bytes(each['bytes'])})" for each, where in amounts)
    _say(f"tensors of a step   {tensors}")
    for host, size in found.memory_bytes.items():
        stages = ", ".join(str(stage) for stage in numbers["hosts"][host])
        _say(f"memory {host:<12} {format_bytes(size):>9}  (stages {stages})")
    if png is not None:
        _say(f"picture             {png}")


@app.command(name="eval", cls=PlainCommand)
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A model folder, a checkpoint, or a finished run's folder.")],
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="SPEC", help="A corpus as in data.corpus; may be given several times."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The model that adapters belong to; what they say themselves if left out."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help='As data.prompt; as trained if left out, "" for plain text.')
    ] = None,
    completion: Annotated[str | None, typer.Option(help="As data.completion; likewise.")] = None,
    split: Annotated[
        Literal["eval", "train", "all"],
        typer.Option(help="The part that training leaves out, the part that it uses, or the whole text."),
    ] = "eval",
    block_tokens: Annotated[int | None, typer.Option(help="Tokens in a block; as trained if left out.", min=2)] = None,
    blocks: Annotated[int | None, typer.Option(help="At most so many blocks, 0 for all.", min=0)] = None,
    as_json: AsJson = False,
) -> None:
    """Perplexity of a saved model, by transformers alone."""
    from shieldwall.dashboard.progress import progress_bar
    from shieldwall.run.evaluate import evaluate as run_evaluate

    with progress_bar(_errors(), "evaluating", quiet=as_json) as on_batch:
        found = run_evaluate(
            checkpoint,
            data,
            base=base,
            prompt=prompt,
            completion=completion,
            split=split,
            block_tokens=block_tokens,
            blocks=blocks,
            on_batch=on_batch,
        )
    if as_json:
        _print_json(asdict(found))
        return
    _say(f"perplexity {found.perplexity:.4f}  loss {found.loss:.5f} nats")
    _say(f"{found.blocks} blocks of {found.block_tokens} tokens, split {found.split} of {found.data}")


@app.command(cls=PlainCommand)
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished, running or stopped run.")],
    as_json: AsJson = False,
) -> None:
    """Draw and tabulate what a run has done so far, into RUN/report/; the run itself is only read."""
    from shieldwall.dashboard.markdown import tell_progress
    from shieldwall.run.report import report as write_report

    made = write_report(run)
    numbers = made.numbers
    if as_json:
        _print_json({"page": str(made.page), **numbers.to_json()})
        return
    perplexity = f", perplexity {numbers.eval_perplexity:.2f}" if numbers.eval_perplexity is not None else ""
    _say(f"{tell_progress(numbers)}: loss {numbers.first_loss:.3f} -> {numbers.train_loss:.3f}{perplexity}")
    measured_s = numbers.plan.measured_step_s
    measured = f"{measured_s:.3f} s measured" if measured_s is not None else "no step traced yet"
    _say(f"passes of a step: {numbers.plan.predicted_step_s:.3f} s predicted, {measured}")
    _say(f"report: {made.page}")


@app.command(cls=PlainCommand)
def demo(run: RunDir = None) -> None:
    """Train the embedded default with a liar and a crash among its workers, and again without; compare and verify."""
    from shieldwall.dashboard.progress import choose_view
    from shieldwall.run.allocator import keep_freed_memory
    from shieldwall.run.demo import demo as run_demo
    from shieldwall.run.demo import tell

    keep_freed_memory()
    tell(run_demo(run, choose_view(_errors(), quiet=False)), _say)


@app.command(cls=PlainCommand)
def attacks(as_json: AsJson = False) -> None:
    """List what bad workers can be made to do, for experiments: kinds, parameters, formulas, and what catches them.

    An attack goes into a configuration as a table [[attack]] with kind, stage (a number, a worker's name, or "random"),
    direction, rate, from_step, seed and the kind's own parameters.
    """
    from shieldwall.attacks import list_attacks, render_attacks

    if as_json:
        _print_json(list_attacks())
        return
    _say(render_attacks())


@app.command(cls=PlainCommand)
def experiment(
    name: Annotated[str, typer.Argument(metavar="NAME", help="vulnerability, defence, detection or map.")],
    scale: Annotated[str, typer.Option(help="How large: tiny, small or gpu.")] = "tiny",
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results, finished cells and base models lie.")] = Path(
        "experiments"
    ),
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Holds wikitext2/, arxiv/, openwebtext/; Python's own text if left out."),
    ] = None,
    only: Annotated[
        str, typer.Option(metavar="WORDS", help="Families and corpora with commas between them, such as opt,arxiv.")
    ] = "",
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="A model's folder, or its name on the hub, to start from.")
    ] = "",
    processes: Annotated[
        int | None, typer.Option(help="Cells that run at once, each with one thread; the cores if left out.", min=1)
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Settings are chosen on it, results reported on those after it.", min=0)
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Run one of the experiments: a grid of small trainings, and a page made of them.

    \b
    vulnerability  what an attack does where nothing is checked: the paper's Table 1
    defence        what skipping, trying again and repairing are worth: the paper's Table 2
    detection      who is caught: kind x direction x rate x strength
    map            where an attack bites: steps, learning rate, clipping, optimizer

    \b
    tiny   one family on one corpus, within half an hour of one core
    small  three families on three corpora (two without --data), hours to days
    gpu    the paper's sizes, on a CUDA device

    Models are first pretrained on other text, then trained as every run is, by this very package. The learning rate is
    chosen on one seed and results are reported on others. Each finished cell is kept in DIR/cells/NAME: stop it
    whenever you like, the same command does only what is missing. The results are DIR/NAME.json, .md and .png.

    \b
    Example:
        shieldwall experiment vulnerability
        shieldwall experiment defence --scale small --data texts --only opt,arxiv

    Exit codes: 0 done, 1 a cell failed or the disk refused, 2 what was given cannot be used, 130 stopped by a signal.
    """
    from shieldwall.lab.experiment.run import run_experiment
    from shieldwall.lab.experiment.view import BarGrid, SilentGrid

    plain = run_experiment(
        name,
        scale=scale,
        out=out,
        data=data,
        only=tuple(word.strip() for word in only.split(",") if word.strip()),
        model=model,
        processes=processes,
        seed=seed,
        view=SilentGrid() if as_json else BarGrid(_errors(), name),
        command=" ".join(["shieldwall", *sys.argv[1:]]),
    )
    if as_json:
        _print_json(plain)
        return
    for claim in plain["claims"]:
        _say(f"{claim['verdict']:<24} {claim['where']}: {claim['text']}; {claim['figures']}")
    _say(f"page: {out / name}.md")


@ledger_app.command(name="verify", cls=PlainCommand)
def ledger_verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its ledger.sqlite.")],
    run_key: Annotated[
        str | None,
        typer.Option("--run-key", metavar="FINGERPRINT", help="Of the run's key, as the run showed it at its start."),
    ] = None,
    reviewer_key: Annotated[
        Path | None,
        typer.Option("--reviewer-key", metavar="FILE", help="Opens the evidence and judges each case again."),
    ] = None,
    allow_open: Annotated[
        bool, typer.Option("--allow-open", help="Accept a ledger that is not closed: its run goes on or was stopped.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a run's ledger offline: chain, signatures, joins, states, closing row; exit code 3 where it does not hold.

    With the reviewers' key each case is judged again from its sealed evidence, in the arithmetic class that it names.
    """
    from shieldwall.verify.ledger import verify_ledger

    found = verify_ledger(run, run_key, allow_open=allow_open)
    judged = None
    if reviewer_key is not None:
        from shieldwall.run.rejudge import rejudge

        judged = rejudge(run, reviewer_key)
    if as_json:
        _print_json({**found.to_json(), **({"judged_again": judged.to_json()} if judged else {})})
        return
    _say(str(found))
    if judged:
        _say(str(judged))


@ledger_app.command(name="show", cls=PlainCommand)
def ledger_show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its ledger.sqlite.")],
    verdicts: Annotated[bool, typer.Option("--verdicts", help="Tell each verdict in words.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a ledger holds: a line for each step, or who was found guilty of what, when, and by which rule."""
    from shieldwall.verify.ledger.show import show_ledger

    _say(show_ledger(run, verdicts=verdicts, as_json=as_json))


@config_app.command(name="init", cls=PlainCommand)
def config_init() -> None:
    """Print a configuration with every key, its default and its meaning."""
    from shieldwall.config import commented_toml

    _say(commented_toml())


def _say(text: str) -> None:
    typer.echo(text)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def _errors() -> Console:
    return Console(stderr=True, soft_wrap=True)


def main() -> None:
    """Run a command; errors of ours become a message on standard error and the exit code that they carry."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # else it has a line for each stranger whose handshake fails
    try:
        app()
    except ShieldwallError as error:
        typer.echo(str(error), err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
