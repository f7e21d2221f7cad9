"""`pretext completion`: a script that lets a shell complete verbs, configs, runs and options."""

from __future__ import annotations

from pretext.cli import VERBS
from pretext.cli.fit_help import PLACES
from pretext.cli.parser import Parser
from pretext.core.catalogue import PACKAGE, described, trainer_options
from pretext.core.configs import names

SHELLS = ("bash", "zsh")
TAKES = {  # of each verb its options; those of a config's parts come on top where it takes a config
    "fit": "-c --name --ckpt_path --help",
    "validate": "--help",
    "test": "--help",
    "predict": "--help",
    "show": "-c --out --count --help",
    "probe": "--backbone --weights --crop --out --modality --protocols --classes --views --dims --devices --data "
    "--data.root",
    "compare": "--out",
    "bench": "--out --only --devices",
    "evolve": "-c --out --searcher --candidates --steps --fitness --storage --study --help",
    "transfer": "--out --only --budget --costs --weights --method --features --labels --starts --prior --study "
    "--draws --help",
    "nas": "-c --results --help",
    "audit": "-c --data.root --help",
    "reproduce": "--out --scale --data.root",
    "export": "--to --out --modality",
    "cluster": "--clusters --partitions --stage --modality --out --data --data.root",
    "configs": "--copy",
}
CONFIGURED = ("fit", "validate", "test", "predict", "show", "evolve")
SCRIPT = """\
# Completion of pretext for {shell}. To use it: eval "$(pretext completion {shell})"   (in ~/.{shell}rc to keep it)
{start}_pretext() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD - 1]}}" options=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{verbs}" -- "$word"))
        return
    fi
    case "${{COMP_WORDS[1]}} $before" in
        *" -c" | *" --config" | "configs configs")
            COMPREPLY=($(compgen -W "{configs}" -- "$word") $(compgen -f -- "$word"))
            return ;;
        "completion completion") COMPREPLY=($(compgen -W "{shells}" -- "$word")); return ;;
        "reproduce reproduce") COMPREPLY=($(compgen -W "rotnet simclr" -- "$word")); return ;;
    esac
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    case "$word" in
        -*) COMPREPLY=($(compgen -W "$options" -- "$word")) ;;
        *) COMPREPLY=($(compgen -f -- "$word")) ;;
    esac
}}
complete -o filenames -F _pretext pretext pretext-tasks
"""


def main(args: list[str]) -> None:
    """Print a script that lets a shell complete verbs, configs, runs and options: eval "$(pretext completion bash)"."""
    parser = Parser("completion", "bash|zsh", main.__doc__)
    parser.add_argument("shell", choices=SHELLS)
    print(script(parser.parse_args(args[1:]).shell), end="")


def script(shell: str) -> str:
    """Write the script for a shell."""
    shared = [f"--trainer.{name}" for name in trainer_options()] + ["--data", "--data.root", "--seed_everything"]
    for file, name, before, _ in PLACES:
        shared += [f"{before}{option.name}" for option in described(PACKAGE / file, name).options]
    cases = [
        f'        {verb}) options="{" ".join([own, *(shared if verb in CONFIGURED else [])])}" ;;'
        for verb, own in TAKES.items()
    ]
    start = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    said = {"verbs": " ".join(VERBS), "configs": " ".join(names()), "shells": " ".join(SHELLS)}
    return SCRIPT.format(shell=shell, start=start, cases="\n".join(cases), **said)
