"""`configs/audio_visual/elo.yaml` for 50 steps: 28 tasks on four modalities, on videos that are made here."""

from __future__ import annotations

from functools import partial
from shutil import rmtree

from schedule import Answer, Clock, Part, Question

from gpu_parts.callbacks import marks_of
from gpu_parts.configs import disk, without_flow
from gpu_parts.setting import REPOSITORY, Setting

CONFIG = REPOSITORY / "configs" / "audio_visual" / "elo.yaml"


def part(setting: Setting) -> Part:
    """Make the part."""
    asked = [Question("50 steps", partial(train, setting), setting.size(30.0, 1.0))]
    return Part("elo", "50 steps of elo.yaml", 0.05, lambda: asked, table)


def train(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Train 50 steps (a dry run three), the last 30 of them timed, and look at the losses; only where OpenCV is."""
    if answer := without_flow():
        return answer
    steps, first = setting.size(50, 3), setting.size(20, 1)
    run = setting.out / "runs" / "elo"
    rmtree(run, ignore_errors=True)
    words = ["-c", str(CONFIG), *data(setting)]
    limits = {
        "max_steps": steps,
        "max_epochs": -1,
        "limit_val_batches": 0,
        "log_every_n_steps": 10,
        **setting.trainer(),
    }
    words += [word for key, value in limits.items() for word in (f"--trainer.{key}", str(value))]
    marks = f"[{{class_path: gpu_parts.callbacks.Marks, init_args: {{steps: [{first}, {steps - 1}]}}}}]"
    words += ["--trainer.callbacks", marks, "--trainer.default_root_dir", str(run)]
    cli = setting.verb("elo", "fit", *words)
    losses = {name: float(loss) for name, loss in cli.model.losses.items()}
    if bad := [name for name, loss in losses.items() if loss != loss]:
        raise ValueError(f"the loss of {', '.join(bad)} is not a number")
    return {
        "step_ms": 1e3 * marks_of(cli.trainer).per_step(first, steps - 1),
        "tasks": len(losses),
        "steps": cli.trainer.global_step,
    }


def data(setting: Setting) -> list[str]:
    """Name videos that are made here, in the place of what the config reads."""
    train, test = setting.size(("160", "16"), ("16", "8"))
    words = ["--data", "datamodules.Bouncing", "--data.root", str(setting.out / "videos"), *disk(setting)]
    words += ["--data.videos.train_videos", train, "--data.videos.test_videos", test]
    return [*words, *setting.size([], ["--data.batch_size", "4"])]


def table(answers: dict[str, Answer]) -> list[str]:
    """Say what a step takes."""
    answer = answers.get("50 steps", {})
    if "step_ms" not in answer:
        return [f"Not run: {answer['not run']}." if "not run" in answer else "Not run."]
    return [f"{answer['steps']} steps of {answer['tasks']} tasks, {answer['step_ms']:.0f} ms a step."]
