from .cifar import CIFAR10 as CIFAR10
from .digits import Digits as Digits
from .folders import ImageFolder as ImageFolder
from .folders import Photos as Photos
from .paired import PairedFiles as PairedFiles
from .pets import Pets as Pets
from .voc import VOC07 as VOC07
from .voc import Challenge as Challenge
