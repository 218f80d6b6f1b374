"""The command line: `groundup COMMAND`. A command imports heavy modules only when it runs, so that help is instant."""

import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from groundup.core import console, process
from groundup.core.commands import DeviceName, Json, Weights, show
from groundup.core.errors import InputError, Interrupted
from groundup.core.tables import APPLICATIONS, EXPORTS, REPORTS

if TYPE_CHECKING:
    from groundup.config.evaluation import EvaluatePart
    from groundup.config.recipe import Recipe
    from groundup.generate.conversation import Conversation
    from groundup.pipeline.run import Options
    from groundup.release.about import About

app = typer.Typer(
    name="groundup",
    help="Grow foundation models from the ground up: raw files to a model you own, with its record.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipeFile = Annotated[Path, typer.Argument(help="A recipe (TOML).", show_default=False)]
Model = Annotated[
    Path, typer.Argument(help="A run's folder, a finished stage's folder, or an exported model.", show_default=False)
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, such as model.depth=6; may be repeated.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and every derived value; run nothing.")]
Retrain = Annotated[
    bool, typer.Option("--retrain", help="Train a finished model again if it is stale; the old one is overwritten.")
]
Images = Annotated[list[Path] | None, typer.Option(help="Show this image with the first question; may be repeated.")]
Questions = Annotated[
    list[str] | None, typer.Option(help="Ask this question and exit; may be repeated (one conversation).")
]
Runs = Annotated[Path, typer.Option("--runs", help="The folder that holds the runs.")]


def main() -> None:
    """Run the command line. Exit codes: 0 success, 2 bad input (explained in one sentence), 130 stopped by the user."""
    process.configure_process()
    try:
        app()
    except InputError as error:
        console.console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except Interrupted as stop:
        console.note(str(stop))
        sys.exit(130)
    except KeyboardInterrupt:
        console.note("stopped; the same command resumes from the last saved state")
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # while the interpreter exits: a second Ctrl-C kills it at once


@app.command()
def run(
    recipe: RecipeFile,
    until: Annotated[str | None, typer.Option(help="Last stage to run.")] = None,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    retrain: Retrain = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard event files beside metrics.jsonl.")
    ] = False,
    device: DeviceName = None,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Run the stale stages of a recipe: data, training, evaluation, report. After a stop or a crash, the same command
    resumes.
    """
    from groundup.config.load import load
    from groundup.pipeline.run import Options

    _run(
        load(recipe, overrides or []),
        recipe.parent,
        runs,
        Options(until, retrain, device, tensorboard),
        dry_run,
        as_json,
    )


@app.command("continue")
def continue_(
    model: Model,
    like: Annotated[
        Path, typer.Option(help="The recipe (TOML) of the data and stages to go on with.", show_default=False)
    ],
    overrides: Overrides = None,
    dry_run: DryRun = False,
    retrain: Retrain = False,
    device: DeviceName = None,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Go on training a finished model on new data: sources and stages of a recipe, shape and tokenizer of the model."""
    from groundup.config.load import load
    from groundup.pipeline.finished import model_folder
    from groundup.pipeline.run import Options

    start = model_folder(model).resolve()
    recipe = load(like, overrides or [], start)
    if (runs / recipe.name).resolve() in start.parents:
        raise InputError(
            f"{like}: its name, {recipe.name!r}, is that of the model's own run; give the new run another with --set"
            " name=NAME"
        )
    _run(recipe, like.parent, runs, Options(retrain=retrain, device=device), dry_run, as_json)


def _run(recipe: "Recipe", home: Path, runs: Path, options: "Options", dry_run: bool, as_json: bool) -> None:
    """Run a recipe, or print its plan; figures and the next commands at the end."""
    from groundup.pipeline.dry_run import plan
    from groundup.pipeline.run import run as run_stages
    from groundup.pipeline.start import begun

    table = begun(recipe, home)
    if dry_run:
        with console.working("files are read and this machine is measured"):
            planned = plan(table, home, runs / table.name, options.device)
        show(as_json, *planned)
        return
    manifests = run_stages(table, home, runs / table.name, options)
    if as_json and manifests:
        print(json.dumps({name: manifest.metrics for name, manifest in manifests.items()}, ensure_ascii=False))
    elif "report" in manifests:
        _closing(runs / table.name, table.stage[-1].title, manifests)


def _closing(root: Path, model: str, manifests: dict[str, Any]) -> None:
    """Print figures, answers, the report's path and the commands that start a chat, a server or an application."""
    from groundup.evaluate.display import join
    from groundup.release.part import display
    from groundup.release.terminal import render

    measured = [manifests[name] for name in REPORTS if name in manifests]
    console.result(render(join(map(display, measured))))
    print(f"\nreport  {root / 'report' / 'report.html'}")
    print(f"chat    groundup chat {root / model}")
    print(f"serve   groundup serve {root.name}={root / model} --temperature 0")
    for manifest in measured:
        for word, shown in REPORTS[manifest.stage].commands(root, manifest.metrics):
            print(f"{word:<7} {shown}")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the new recipe; NAME.toml is written here.", show_default=False)],
    like: Annotated[str, typer.Option(help="Recipe to copy: a file, or the name of an included one.")] = "demo",
) -> None:
    """Write a new recipe from an existing one."""
    import re

    from groundup.config.base import NAME
    from groundup.config.load import load
    from groundup.core.files import write_text

    if not re.fullmatch(NAME, name):
        raise InputError(f"{name}: not a recipe's name; use lower-case letters, digits, - and _")
    source = Path(like) if Path(like).is_file() else _recipes() / f"{like}.toml"
    if not source.is_file():
        raise InputError(
            f"--like {like}: no such recipe; there are"
            f" {', '.join(sorted(path.stem for path in _recipes().glob('*.toml')))}"
        )
    target = Path(f"{name}.toml")
    if target.exists():
        raise InputError(f"{target}: there already; choose another name or remove it")
    load(source)
    write_text(target, re.sub(r'(?m)^name = ".*"', f'name = "{name}"', source.read_text(encoding="utf-8"), count=1))
    print(f"{target}: edit it, then `groundup run {target} --dry-run`")


def _recipes() -> Path:
    package = Path(__file__).parent
    return next(folder for folder in (package / "recipes", package.parent / "recipes") if folder.is_dir())


@app.command()
def chat(
    model: Model,
    ask: Questions = None,
    image: Images = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    temperature: Annotated[float, typer.Option(min=0, help="Sampling temperature; 0: greedy.")] = 0.0,
    top_k: Annotated[int, typer.Option(min=0, help="Sample among so many likeliest tokens; 0: all.")] = 0,
    top_p: Annotated[
        float, typer.Option(min=0, max=1, help="Sample among the likeliest tokens whose probabilities reach this sum.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same answers.")] = 0,
    tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 256,
    device: DeviceName = None,
    as_json: Json = False,
) -> None:
    """Chat with a model in the terminal. /image FILE attaches an image, /reset starts anew, /exit leaves; a backslash
    at a line's end continues the message.
    """
    from groundup import device as devices
    from groundup.generate.conversation import Conversation
    from groundup.generate.engine import Engine
    from groundup.generate.sampling import Sampling
    from groundup.pipeline.finished import model_folder
    from groundup.release.about import about

    folder = model_folder(model)
    with console.working(f"loading {folder}"):
        engine = Engine.load(folder, devices.pick(device))
    talk = Conversation(engine, system, Sampling(temperature, top_k, top_p, seed), tokens)
    for file in image or []:
        talk.show(file)
    if ask:
        for question in ask:
            for piece in talk.answer(question):
                _stream("" if as_json else piece)
            _stream("" if as_json else "\n")
        if as_json:
            print(json.dumps(talk.messages, ensure_ascii=False))
        return
    _introduce(about(folder))
    console.note(
        "/image FILE attaches an image, /reset starts anew, /exit leaves; \\ at the end of a line continues the message"
    )
    while (line := _line()) is not None:
        if line == "/reset":
            talk.reset()
        elif line.startswith("/image "):
            _show(talk, Path(line.removeprefix("/image ").strip()))
        elif line:
            for piece in talk.answer(line):
                _stream(piece)
            _stream("\n")


def _introduce(stated: "About") -> None:
    """Print the purpose of a model, with example prompts."""
    if stated.purpose:
        console.note(stated.purpose)
    if stated.examples:
        console.note("\n".join(("for example:", *(f"  {example}" for example in stated.examples))))


def _show(talk: "Conversation", file: Path) -> None:
    """Attach an image to the next question, or print why not: a wrong file name does not end the conversation."""
    try:
        talk.show(file)
    except InputError as error:
        console.note(str(error))
    else:
        console.note(f"{file}: shown with the next question")


def _line() -> str | None:
    """Read the user's message; None to exit. A line that ends in a backslash continues on the next."""
    try:
        line = input("you> ")
        while line.endswith("\\"):
            line = f"{line[:-1]}\n{input('...> ')}"
        line.encode()  # in the C locale, invalid UTF-8 is read as surrogates
    except EOFError:
        return None
    except UnicodeError as error:
        raise InputError(f"standard input is not UTF-8 ({error}); convert it, such as with iconv -t utf-8") from None
    return None if line.strip() == "/exit" else line.strip()


def _stream(text: str) -> None:
    sys.stdout.write(console.visible(text))
    sys.stdout.flush()


@app.command()
def evaluate(
    model: Model,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe with the suites; default: the recipe of the model's run.")
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(help="Text to measure bits per byte and perplexity a word on instead; may be repeated."),
    ] = None,
    questions: Annotated[
        list[Path] | None, typer.Option(help="JSONL with question and answer to measure instead; may be repeated.")
    ] = None,
    choice: Annotated[
        list[Path] | None, typer.Option(help="Multiple-choice JSONL to measure instead; may be repeated.")
    ] = None,
    programs: Annotated[
        list[Path] | None,
        typer.Option(help="Programming tasks (JSONL as HumanEval) to measure instead, in a sandbox; may be repeated."),
    ] = None,
    weights: Weights = "full",
    device: DeviceName = None,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Evaluate a model with its recipe's suites, or on files of your own: text, questions, choices, programs."""
    from groundup.evaluate.runner import Evaluation
    from groundup.pipeline import finished
    from groundup.release.terminal import render

    if options := _own_files(text=text, questions=questions, choice=choice, programs=programs):
        if recipe is not None:
            raise InputError("--recipe and files of your own are two measurements; give one of them")
        result = finished.evaluate_files(model, options, device, weights)
    else:
        result = finished.evaluate(model, recipe, device, runs, weights)
    if as_json:
        print(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        console.result(render(Evaluation.from_json(result).display()))


def _own_files(**files: list[Path] | None) -> "EvaluatePart | None":
    """The evaluation options of the files given by suite, or None if there is none."""
    from groundup.config.evaluation import EvaluatePart

    given = {suite: tuple(map(str, paths)) for suite, paths in files.items() if paths}
    return EvaluatePart.model_validate({"suites": tuple(given), **given}) if given else None


@app.command()
def export(
    model: Model,
    out: Annotated[Path, typer.Argument(help="Folder to write.", show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            metavar=f"<{'|'.join(EXPORTS)}>",
            help=(
                "hf: for transformers and vLLM. gguf: for llama.cpp and Ollama. onnx: what finds things in images, for"
                " onnxruntime."
            ),
        ),
    ] = "hf",
    dtype: Annotated[Literal["fp32", "bf16"], typer.Option(help="Precision of the weights of hf.")] = "fp32",
    kind: Annotated[
        str | None, typer.Option("--type", help="How gguf stores matrices: F32, BF16, F16, Q8_0 or Q4_0.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="onnx: WxH of the input images; default: the finest square grid of the model."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Export a model for other tools, with its lineage."""
    from groundup.pipeline.finished import model_folder
    from groundup.release.exporter import export as write

    options = {"dtype": dtype if dtype != "fp32" else None, "type": kind, "size": size}
    files = write(to, model_folder(model), out, {key: value for key, value in options.items() if value is not None})
    show(as_json, {"files": [str(file) for file in files]}, [str(file) for file in files])


@app.command()
def trace(
    model: Model,
    verify: Annotated[bool, typer.Option("--verify", help="Read every output again and compare its hash.")] = False,
    as_json: Json = False,
) -> None:
    """Show every file and licence that went into a model, and check the chain of manifests."""
    from groundup.pipeline.finished import model_folder
    from groundup.release.lineage import LINEAGE, kept, lineage
    from groundup.release.trace import render

    folder = model if (model / LINEAGE).exists() else model_folder(model)
    found = lineage(folder)
    if verify:
        size = sum(output["bytes"] for _, stage in kept(folder, found) for output in stage.outputs.values())
        with console.progress("verify", size, "bytes") as advance:
            found = lineage(folder, verify=True, advance=advance)
    if as_json:
        print(json.dumps(found.as_json(), ensure_ascii=False, indent=2))
    else:
        console.result(render(found))
    found.require()


@app.command()
def serve(
    models: Annotated[list[str], typer.Argument(help="Models, each FOLDER or NAME=FOLDER.", show_default=False)],
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but the loopback address needs --keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free port.")] = 8000,
    keys: Annotated[Path | None, typer.Option(help="File of API keys; `groundup key` makes them.")] = None,
    weights: Weights = "full",
    cache_gigabytes: Annotated[float, typer.Option(min=0.001, help="Memory for the KV cache, for each model.")] = 1.0,
    queue: Annotated[int, typer.Option(min=1, help="Length of the request queue, for each model.")] = 256,
    concurrent: Annotated[int, typer.Option(min=1, help="Concurrent requests of each key or address.")] = 64,
    rate: Annotated[int, typer.Option(min=1, help="Requests a minute of each key or address.")] = 6000,
    together: Annotated[int, typer.Option(min=1, help="Concurrent requests of all clients.")] = 512,
    grace: Annotated[float, typer.Option(min=0, help="Seconds for requests in flight at shutdown.")] = 30.0,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="Default temperature of requests; 0: greedy.")] = 1.0,
    watch: Annotated[
        bool, typer.Option("--watch", help="Reload changed models every few seconds (SIGHUP reloads once).")
    ] = False,
    log_prompts: Annotated[
        bool, typer.Option("--log-prompts", help="Write request bodies into the access log.")
    ] = False,
    images_from: Annotated[
        Path | None, typer.Option(help="Folder whose images requests may name by path or file URL.")
    ] = None,
    device: DeviceName = None,
    runs: Runs = Path("runs"),
) -> None:
    """Serve models: an OpenAI-compatible API, a chat page, and a view of runs."""
    from groundup.core.extras import require

    require("serve")
    from groundup.pipeline.finished import model_folder
    from groundup.serve.command import Options
    from groundup.serve.command import serve as run_server

    run_server(
        models,
        model_folder,
        Options(
            host, port, keys, weights, round(cache_gigabytes * 2**30), queue, concurrent, rate, together, grace,
            temperature, watch,
            runs, log_prompts, device, images_from,
        ),
        end_process=os._exit,
    )  # fmt: skip


@app.command()
def key(
    name: Annotated[str, typer.Argument(help="Name of the key's owner.", show_default=False)],
    keys: Annotated[Path, typer.Option(help="File of API keys, to which the key is added.")],
    rate: Annotated[int | None, typer.Option(min=1, help="Requests a minute; default: the server's limit.")] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Concurrent requests; default: the server's limit.")
    ] = None,
) -> None:
    """Create an API key for `groundup serve`. It is printed once; the file stores only its hash."""
    from groundup.serve.keys import make

    print(make(keys, name, rate, concurrent))


@app.command()
def doctor(
    quick: Annotated[
        bool, typer.Option("--quick", help="Skip the comparison of compiled with eager code, which takes minutes.")
    ] = False,
    device: DeviceName = None,
    as_json: Json = False,
) -> None:
    """Show what this machine can do: device, precision, memory, versions, missing packages of each extra, and whether
    compiled code is right.
    """
    from groundup.pipeline.doctor import cells, compare, examine

    table = examine(device)
    if not quick:
        with console.progress("compiled against eager", cells(device), "shapes") as advance:
            table["compiled against eager"] = compare(device, advance)
    lines = [
        f"{key:<16} {', '.join(value) if isinstance(value, list) else value}"
        for key, value in table.items()
        if not isinstance(value, dict)
    ]
    for key, group in table.items():
        if isinstance(group, dict):
            lines += [key] + [f"  {name:<14} {value}" for name, value in group.items()]
    show(as_json, table, lines)


for _, application in APPLICATIONS.items():
    if application.commands:
        import_module(application.commands).register(app)


if __name__ == "__main__":
    main()
