from .correction import CorrectionConfig as CorrectionConfig
from .ensemble import EnsembleGain as EnsembleGain
from .observer import Observer as Observer
from .operator import Analyses as Analyses
from .operator import AssimilatingOperator as AssimilatingOperator
from .operator import Feed as Feed
from .wrapped import AssimilatedOperator as AssimilatedOperator
from .wrapped import assimilate as assimilate
