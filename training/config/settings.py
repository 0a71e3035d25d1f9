"""How a network is trained: one frozen object, written into the run directory as it was used."""

import dataclasses
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from models.errors import UserError
from training.config.augmentation import Augmentation
from training.config.fields import setting

if TYPE_CHECKING:
    from models.networks.architecture import Architecture

BATCH_SIZE = 64
LEARNING_RATE = 0.1  # as He et al. train
FULL_RATE_STEPS = 1000  # steps of a run from which on a network with batch normalisation gets this rate
LEARNING_RATE_UNNORMALISED = 0.02  # without batch normalisation a network bears less
CLIP_NORM_UNNORMALISED = 5.0  # what keeps a network without batch normalisation alive, and slows one that has it
LEARNING_RATE_ADAM = 0.001  # as Kingma and Ba (2014) have it
FINE_TUNING = 0.1  # of the learning rate, for weights that are good already
SMALLEST_FOR_BFLOAT16 = 1_000_000  # parameters; lenet5 trains no faster in bfloat16, and a little worse
BFLOAT16_UNITS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}  # flags of /proc/cpuinfo
EPOCHS, MOST_EPOCHS, IMAGES_SEEN = 30, 200, 100_000
MOST_MIXED_EPOCHS, MIXED_IMAGES_SEEN = 400, 250_000  # the same with mixup or CutMix, which take longer and gain more
TAIL_EPOCHS, MOST_TAIL_EPOCHS, TAIL_IMAGES_SEEN = 3, 12, 4_000  # the same where only the last stages are trained
FEWEST_FOR_TAIL = 500  # training images; with fewer, the last layer alone is trained unless somebody says otherwise
PHOTOGRAPH = 96  # pixels of the input's shorter side, from which on it is taken for one
OF_PHOTOGRAPHS = {  # where neither a recipe nor a flag says otherwise; training/recipes/default.toml has the reasons
    "min_area": 0.25,
    "shift": 0.0,
    "contrast": 0.3,
    "brightness": 0.2,
    "saturation": 0.3,
    "label_smoothing": 0.1,
    "patience": 0,
}
OF_FEW_PHOTOGRAPHS = {"mixup": 0.2, "cutmix": 1.0, "weight_decay": 1e-3}  # besides, where the data say how long
WEIGHT_DECAY = 5e-4  # as Simonyan and Zisserman have it
FEWEST_FOR_DROPOUT = 10  # parameters for each training image, of a network with less than
SMALL_NETWORK = 1_000_000  # parameters
Optimizer = Literal["sgd", "adam"]
Schedule = Literal["cosine", "one-cycle", "steps", "exponential", "plateau"]
DecayParams = Literal["kernels", "all"]
Dropout = float | Literal["paper"] | None
ClassWeights = Literal["none", "balanced"]
Precision = Literal["auto", "float32", "mixed_bfloat16"]
Int8 = Literal["auto", "on", "off"]
Train = Literal["all", "tail", "head"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that decides the weights, but for the images; the defaults are the recipe `default`.

    Attributes:
        scaling: how bytes become numbers: that of the weights which training starts from, and no flag.
        recipe: the name under which these settings were found, for the record.
        schedule: `cosine` falls to 0, after `warmup_epochs` of rising; `one-cycle` rises to the peak at the fraction
            `peak_at` of the run and falls, both in straight lines; `steps` falls by `drop_factor` at each fraction
            of the run in `drop_at`; `exponential` by `drop_factor` every `drop_every` epochs; `plateau` by
            `drop_factor` after `plateau_epochs` without a better validation accuracy.
        epochs: 0 is by the number of images (`resolve_epochs`).
        weight_decay: coefficient of w in the gradient (L2 coupled with the loss, as in the papers).
        decoupled_weight_decay: what each step takes from a weight beside its gradient, times the learning rate
            (Loshchilov and Hutter, 2017), which is another rule.
        decay_params: `kernels` leaves biases and normalisation alone, `all` does not.
        dropout: `paper` is the rate of the network's paper; None too, unless the network is small beside its data
            (`resolve_dropout`).
        class_weights: weight of an image by the size of its class (`training.network.losses.class_weights`).

    Raises:
        UserError: the schedule lacks a required setting, or `drop_at` does not ascend.
    """

    architecture: str
    learning_rate: float = setting(
        dataclasses.MISSING,
        "Peak learning rate. [default: the network's; a tenth of it with --from]",
        "optimizer",
        above=0,
        everyday=True,
        depends=True,
    )
    recipe: str = "default"
    scaling: str = "signed"
    optimizer: Optimizer = setting("sgd", "Optimizer.", "optimizer")
    momentum: float = setting(0.9, "SGD momentum.", "optimizer", least=0, below=1)
    nesterov: bool = setting(True, "Nesterov momentum.", "optimizer")
    schedule: Schedule = setting("cosine", "Schedule of the learning rate.", "schedule")
    warmup_epochs: int = setting(1, "cosine: number of warm-up epochs.", "schedule", least=0)
    peak_at: float = setting(
        0.23, "one-cycle: fraction of the run at which the learning rate peaks.", "schedule", above=0, below=1
    )
    drop_factor: float = setting(
        0.1, "steps, exponential, plateau: factor of each drop of the learning rate.", "schedule", above=0, most=1
    )
    drop_at: tuple[float, ...] = setting(
        (),
        "steps: fraction of the run after which the learning rate drops; can be repeated.",
        "schedule",
        above=0,
        below=1,
    )
    drop_every: int = setting(0, "exponential: number of epochs between drops.", "schedule", least=0)
    plateau_epochs: int = setting(
        0, "plateau: number of epochs without a better validation accuracy before a drop.", "schedule", least=0
    )
    epochs: int = setting(
        0, "Maximum number of epochs; 0: 30, or up to 400 for few images.", "run", least=0, everyday=True
    )
    steps: int = setting(
        0, "Length of the run in steps, rounded up to whole epochs; 0: as --epochs says.", "run", least=0
    )
    batch_size: int = setting(BATCH_SIZE, "Number of images in a batch.", "run", least=1, everyday=True)
    weight_decay: float = setting(WEIGHT_DECAY, "L2 weight decay, added to the gradient.", "optimizer", least=0)
    decoupled_weight_decay: float = setting(0.0, "Decoupled weight decay, as in AdamW.", "optimizer", least=0)
    decay_params: DecayParams = setting("kernels", "Parameters to which weight decay applies.", "optimizer")
    bn_bias_lr_scale: float = setting(
        1.0,
        "Learning rate of the biases of batch normalization, as a multiple of --learning-rate.",
        "optimizer",
        above=0,
    )
    clip_norm: float = setting(
        CLIP_NORM_UNNORMALISED,
        "Gradient clipping norm; 0 is off. [default: 5; 0 with batch normalisation]",
        "optimizer",
        least=0,
        depends=True,
    )
    dropout: Dropout = setting(
        None,
        "Dropout rate, or `paper`. [default: the paper's; 0 for a small network with many images]",
        "regularization",
        least=0,
        below=1,
    )
    class_weights: ClassWeights = setting(
        "none", "balanced: images of small classes count more in the loss.", "regularization"
    )
    label_smoothing: float = setting(
        0.0,
        "Label smoothing: share of each target that is spread over all classes.",
        "regularization",
        least=0,
        below=1,
    )
    ema: float = setting(
        0.0,
        "Decay of the exponential moving average of the weights; the averaged weights are kept; 0 is off.",
        "regularization",
        least=0,
        below=1,
    )
    lookahead: int = setting(
        0, "Lookahead: number of steps between updates of the slow weights; 0 is off.", "optimizer", least=0
    )
    freeze_epochs: int = setting(
        0, "With --from: number of first epochs in which only new layers are trained.", "run", least=0
    )
    train: Train = setting(
        "all",
        "all: every layer; head: the last layer alone, as a logistic regression on what the others make of each image; "
        "tail: the same, and then the last stages with it.",
        "run",
        everyday=True,
    )
    multi_stage: bool = setting(
        False, "Also give the last layer the pooled outputs of earlier stages (efficientnet_lite0 to lite4).", "run"
    )
    patience: int = setting(
        15,
        "Stop after so many epochs without a lower validation loss and keep the best weights; 0: train to the end and "
        "keep the last.",
        "run",
        least=0,
    )
    mirror_answers: bool = setting(
        False,
        "Export a model that averages the logits of an image and its mirror image: more accurate, half as fast.",
        "run",
    )
    seed: int = setting(0, "Random seed; equal seeds give equal results.", "run", least=0, most=2**32 - 1)
    precision: Precision = setting("auto", "Floating-point precision of training.", "precision")
    int8: Int8 = setting(
        "auto",
        "Also export an 8-bit form of the network, which is faster on CPUs. auto: if at least 500 held-out images can "
        "compare it with float32, and at least 99 % of them and of changed copies get the same class; on: also with "
        "fewer; off: never.",
        "precision",
    )
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        needed = {"steps": "drop_at", "exponential": "drop_every", "plateau": "plateau_epochs"}.get(self.schedule)
        if needed and not getattr(self, needed):
            raise UserError(f"The schedule {self.schedule} needs --{needed.replace('_', '-')}.")
        if list(self.drop_at) != sorted(set(self.drop_at)):
            raise UserError(f"The rate drops at ascending fractions of the run, not at {self.drop_at}.")
        if self.freeze_epochs and self.decoupled_weight_decay:
            raise UserError("Frozen weights would still decay: use --weight-decay with --freeze-epochs.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def flat(self) -> dict[str, Any]:
        """{name: value}, those of the augmentation among them."""
        document = asdict(self)
        return document | document.pop("augmentation")


def settings_for(architecture: "Architecture", **chosen: Any) -> Settings:
    """Settings in which `clip_norm` and `learning_rate` get the network's default where they are absent or None.

    With batch normalisation gradients are not clipped: resnet50 and inception_v3 learnt nothing of an easy problem in
    40 clipped steps, and all of it in 40 others.
    """
    if chosen.get("clip_norm") is None:
        chosen["clip_norm"] = 0.0 if architecture.normalised else CLIP_NORM_UNNORMALISED
    if chosen.get("learning_rate") is None:
        optimizer, batch_size = chosen.get("optimizer", "sgd"), chosen.get("batch_size", BATCH_SIZE)
        decay = chosen.get("weight_decay", WEIGHT_DECAY)
        chosen["learning_rate"] = default_learning_rate(architecture, optimizer, batch_size, weight_decay=decay)
    return Settings(architecture.name, **chosen)


def default_learning_rate(
    architecture: "Architecture",
    optimizer: Optimizer,
    batch_size: int,
    num_steps: int = FULL_RATE_STEPS,
    weight_decay: float = WEIGHT_DECAY,
) -> float:
    """The learning rate that suits a network, its batches, its decay and the length of its run.

    With batch normalisation, the rate of SGD is lower for a batch below BATCH_SIZE, whose statistics are noisy: at 8
    images and 0.1, resnet20's moving statistics lay so far off that it answered like chance where it had learnt
    everything. It is lower for a short run, too, by the root of the number of steps (docs/understand/decisions.md has
    figures). It is lower for a larger decay, since it is their product that says how fast a normalised layer learns
    (van Laarhoven, 2017, https://arxiv.org/abs/1706.05350).
    """
    if optimizer == "adam":
        return LEARNING_RATE_ADAM
    if architecture.normalised:
        by_decay = WEIGHT_DECAY / max(weight_decay, WEIGHT_DECAY)
        by_length = math.sqrt(min(1.0, num_steps / FULL_RATE_STEPS))
        return LEARNING_RATE * min(1.0, batch_size / BATCH_SIZE) * by_decay * by_length
    return architecture.learning_rate or LEARNING_RATE_UNNORMALISED


def resolve_dropout(dropout: Dropout, architecture: "Architecture", num_parameters: int, num_images: int) -> float:
    """The rate that was asked for; else 0 for a small network that has few parameters for each image, since it learns
    nothing by heart that dropout would have to prevent; else the rate of the network's paper.

    docs/understand/decisions.md has the measurement.
    """
    if isinstance(dropout, int | float):
        return dropout
    small = num_parameters < min(SMALL_NETWORK, FEWEST_FOR_DROPOUT * num_images)
    return 0.0 if dropout is None and small else architecture.dropout


def resolve_epochs(settings: Settings, num_images: int) -> int:
    """What was asked for; else 30, and more for few images, which need to be seen more often, and for mixed ones still
    more. A tail that is trained from good weights needs 3 to 12.
    """
    if settings.epochs:
        return settings.epochs
    fewest, most, seen = EPOCHS, MOST_EPOCHS, IMAGES_SEEN
    if settings.train == "tail":
        fewest, most, seen = TAIL_EPOCHS, MOST_TAIL_EPOCHS, TAIL_IMAGES_SEEN
    elif settings.augmentation.mixup or settings.augmentation.cutmix:
        most, seen = MOST_MIXED_EPOCHS, MIXED_IMAGES_SEEN
    return max(fewest, min(most, math.ceil(seen / num_images)))


class RunLength(NamedTuple):
    epochs: int
    steps_per_epoch: int
    num_steps: int


def run_length(settings: Settings, num_images: int) -> RunLength:
    """How long a run on so many training images is."""
    steps_per_epoch = num_images // min(settings.batch_size, num_images)
    epochs = math.ceil(settings.steps / steps_per_epoch) or resolve_epochs(settings, num_images)
    return RunLength(epochs, steps_per_epoch, settings.steps or epochs * steps_per_epoch)


def resolve_precision(
    precision: Precision,
    num_parameters: int,
    *,
    depthwise: bool = False,
    frozen: bool = False,
    cpu_info: Path = Path("/proc/cpuinfo"),
) -> tuple[Precision, str]:
    """What to compute in, and why: `auto` is mixed_bfloat16 for a large network where the hardware computes in it."""
    if precision != "auto":
        return precision, "as asked"
    import keras

    on_gpu = any(device.lower().startswith("gpu") for device in keras.distribution.list_devices())
    flags = cpu_info.read_text() if cpu_info.exists() else ""
    unit = "the GPU" if on_gpu else next((name for flag, name in BFLOAT16_UNITS.items() if flag in flags), None)
    if unit is None:
        return "float32", "this CPU does not compute in bfloat16"
    if frozen and not on_gpu:
        return "float32", "with which OpenVINO computes the part that is not trained"
    if depthwise and not on_gpu:
        return "float32", "in which CPUs compute depthwise convolutions faster"
    if num_parameters < SMALLEST_FOR_BFLOAT16:
        return "float32", f"below {SMALLEST_FOR_BFLOAT16:,} parameters bfloat16 is no faster"
    return "mixed_bfloat16", f"{unit} computes in it"
