"""What `walk.sh` runs in each environment: every command and snippet of the README, in its order.

    python tests/walk.py clone|wheel DATA        in a clone, or in an empty folder where the wheel is installed

Smaller than in the README: trainings (two steps), what is probed (two protocols, 16 dimensions), searches (one or two
candidates), the data (made into DATA). Left out, with a line each: what needs a database, a logger that is not
installed, or hours.
"""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
LINE = re.compile(r"^    ((?:pretext|make) [^\n]*)$|^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
STEPS = ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "1", "--trainer.accelerator", "cpu"]
SMALL = {
    "fit": STEPS,
    "probe": ["--dims", "16", "--protocols", "linear", "knn"],
    "audit": ["--budget", "1", "--data.batch_size", "8"],
    "reproduce": ["--scale", "0.00005"],
    "evolve": ["--candidates", "1", "--steps", "1", "--items", "160", "--probe", "false", "--data.batch_size", "8"],
    "sample": ["--architectures", "3", "--steps", "2", "--seeds", "1", "--items", "40", "--calibration", "16"],
    "search": STEPS,
}
HOURS = "benchmarks/transfer.yaml"
SHAPES = ("circle", "square", "triangle", "cross", "star", "ring")
FILES = {  # what commands name, in the place of the user's own
    "COSTS.csv": "name,cost\na,1\nb,2\n",
    "WEIGHTS.csv": "name,weight\nx,1\ny,2\n",
    "VOTES.csv": "item,rater,answer\n"
    + "".join(f"{item},{rater},{item % 2}\n" for item in range(6) for rater in "abc"),
    "attributes.csv": "class,split,round,tall\n"
    + "".join(f"{digit},{'unseen' if digit > 7 else 'seen'},{digit % 3},{digit % 4}\n" for digit in range(10)),
    "prompts.csv": "class,prompt\n" + "".join(f"{shape},a {shape}\n" for shape in SHAPES),
    "SUITE.yaml": """\
network: {class_path: pretext.ResNet, init_args: {blocks: [1], width: 4}}
data: {data: datamodules.ImageFolder, data.root: ROOT, data.canvas: 16}
width: 4
tasks:
  autoencoding: {task: {class_path: pretext.Autoencoding}}
  denoising: {task: {class_path: pretext.Denoising}}
  edges: {task: {class_path: pretext.Edges}}
  keypoints: {task: {class_path: pretext.Keypoints}}
  super-resolution: {task: {class_path: pretext.SuperResolution}}
  inpainting: {task: {class_path: pretext.Inpainting}}
  the same: {task: {class_path: pretext.Autoencoding}}
  edges again: {task: {class_path: pretext.Edges}}
  keypoints again: {task: {class_path: pretext.Keypoints}}
targets: [edges]
training: {models: 2, subset: 50, steps: 2, batch: 4}
correlations: {items: 20, steps: 2}
regression: {steps: 2, batch: 4}
few: 0
items: 100
test_items: 20
""",
}
CLIP = "pretext fit -c image_text/clip --data.root DIR"
ACROSS = "pretext fit -c adaptation/source_only --data.source DIR --data.target DIR"
BEFORE = {  # commands that the README only tells in words
    "--protocols retrieval --classes": [CLIP],
    "--model.beside": [
        ACROSS,
        f"{ACROSS} --data.labelled target",
        "pretext test runs/adaptation/source_only/0",
        "pretext test runs/adaptation/source_only/1",
    ],
}
TABLE = "sources,target,value\na,x,0.5\nb,x,0.2\na|b,x,0.7\na,y,0.3\nb,y,0.6\na|b,y,0.5\nc,x,0.1\n"
GIVEN = """\
import torch, datamodules
data = labelled = datamodules.Digits(size=32, split=datamodules.Splitting(limit=32))
x = torch.rand(2, 3, 32, 32)
"""


def make_data(data):
    """Write photos of digits (with classes, with maps), of shapes and pets, videos with sound, weights and tables."""
    import torch
    import torchvision
    from pets import pets_folder
    from PIL import Image
    from sklearn.datasets import load_digits

    import pretext
    from datamodules import Bouncing

    digits = load_digits()
    for at, (grey, label) in enumerate(zip(digits.images[:400], digits.target, strict=False)):
        file = data / "images" / ("train" if at % 2 else "test") / str(label) / f"{at}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((grey * 15).astype("uint8")).resize((32, 32)).convert("RGB").save(file)
        for folder, factor in (("images", 15), ("depth", 7)) if at < 60 else ():
            file = data / "pairs" / folder / f"{at}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((grey * factor).astype("uint8")).resize((32, 32)).save(file)
    pets_folder(data / "pets")
    pretext.Shapes(32).write(data / "shapes", 120)
    videos = Bouncing(root=data / "made", videos=type(Bouncing(root=data).videos)(train_videos=24, test_videos=8))
    videos.prepare_data()
    (next((data / "made").glob("*/train")).parent).rename(data / "videos")
    for name in ("resnet18", "resnet50"):
        torch.save(getattr(torchvision.models, name)().state_dict(), data / f"{name}.pth")
    for name, text in (FILES | {"TABLE.csv": TABLE}).items():
        (data / name).write_text(text.replace("ROOT", str(data / "images")))


def commands():
    """Yield the commands and the Python snippets of the README, with the numbers of their lines."""
    text = README.read_text()
    for found in LINE.finditer(text):
        number = text[: found.start()].count("\n") + 1
        yield number, "" if found[2] else re.sub(r" +# .*", "", found[1]), found[2] or ""


def left_out(line, where):
    """Say why a command is not run, if it is not."""
    if "postgresql" in line:
        return "needs a database"
    if "Logger" in line:
        return "needs an extra, and has a test of its own"
    if "open_clip" in line:
        return "needs an extra and its weights"
    if HOURS in line:
        return "takes hours"
    return "is of a clone" if where == "wheel" and ("benchmarks/" in line) else ""


def words_of(line, where, data):
    """Write a command with what is here in the place of DIR, RUN and FILE, and smaller."""
    if line.startswith("make"):
        options = shlex.join(STEPS)
        few = ["--data.split.limit", "100", *SMALL["probe"]]
        return (
            ["make", *shlex.split(line)[1:], f"FIT={options}", f"PROBE={shlex.join(few)}"]
            if where == "clone"
            else demo(few)
        )
    _, verb, *rest = shlex.split(line.replace("[", "").replace("]", ""))
    root, run = data / "images", "runs/image/rotation/0"
    if "audio_visual" in line or "--modality" in line:
        root, run = data / "videos", "runs/audio_visual/elo/0"
    for word, folder in (("segmentation", "pets"), ("regression", "pairs"), ("image_text", "shapes")):
        root = data / folder if word in line else root
    if "retrieval" in line:
        run = "runs/image_text/clip/0"
    if "--model.beside" in line:
        run, two = "runs/adaptation/dann/0", iter(("runs/adaptation/source_only/0", "runs/adaptation/source_only/1"))
        rest = [rest[0], *(next(two) if word == "RUN" else word for word in rest[1:])]
    weights = data / ("resnet50.pth" if "resnet50" in line else "resnet18.pth")
    places = {"DIR": root, "RUN": run, "FILE": weights, "CONFIG": "image/digits", "FILE.csv": data / "VOTES.csv"}
    places |= {name: data / name for name in ("TABLE.csv", *FILES)}
    rest = [str(places.get(word, word)) for word in rest]
    if where == "clone" and verb == "bench":
        shrink(Path(rest[0]))
    own = SMALL.get(rest[0] if verb == "nas" else verb, [])
    own = own[:2] if "--protocols" in rest else own  # those that the README names
    if "CIFAR10" in line and verb == "fit":  # of few items a class
        own = [*own, "--data.queries", "3", "--data.count.val", "0"]
    few = ["--data.batch_size", "4"] if verb == "fit" and "--data.root" in rest else []
    return [str(Path(sys.executable).parent / "pretext"), verb, *rest, *own, *few]


def demo(few):
    """What `make demo` runs, where there is no Makefile."""
    bin = Path(sys.executable).parent / "pretext"
    fit = [bin, "fit", "-c", "image/rotation_digits", "--trainer.default_root_dir", "runs/demo", *STEPS]
    verbs = [fit, [bin, "show", "runs/demo"], [bin, "probe", "runs/demo", *few], [bin, "report", "runs/demo"]]
    return ["bash", "-ec", "\n".join(shlex.join(map(str, words)) for words in verbs)]


def shrink(suite):
    """Let a benchmark train two steps with one seed."""
    text = suite.read_text().replace("seeds: [0, 1]", "seeds: [0]")
    suite.write_text(text.replace("trainer.max_epochs: 2", "trainer.max_steps: 2, trainer.max_epochs: -1"))


def run(words, told):
    """Run a command, and say how long it took; leave with its output where it fails."""
    began = time.monotonic()
    ended = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(f"{time.monotonic() - began:.0f} s  {told}", flush=True)
    if ended.returncode:
        print(ended.stdout[-4000:])
        sys.exit(f"FAILED: {told}")


def main(where, data):
    """Walk."""
    if not (data / "WEIGHTS.csv").exists():
        make_data(data)
    for number, line, snippet in commands():
        if number < int(os.environ.get("WALK_FROM", "0")):
            continue
        if "class Mirror" in snippet:
            Path("mirror.py").write_text(snippet)
        elif snippet:
            code = GIVEN + snippet.replace("max_epochs=20", "max_steps=2, max_epochs=-1, accelerator='cpu'")
            run([sys.executable, "-c", code], f"line {number}: Python")
        elif why := left_out(line, where):
            print(f"-    line {number}: {line} ({why})")
        else:
            before = [one for part, lines in BEFORE.items() if part in line for one in lines]
            for one in [*before, line]:
                run(words_of(one, where, data), f"line {number}: {one}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())
