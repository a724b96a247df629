from .adapt.command import finetune as finetune
from .adapt.recipe import FinetuneRecipe as FinetuneRecipe
from .assimilate.assimilator import Assimilator as Assimilator
from .forecast.evaluate import evaluate as evaluate
from .forecast.predict import predict as predict
from .forecast.request import Request as Request
from .report.report import write_report as write_report
