from .comparison import number as number
from .report import write_report as write_report
