from .comparison import number as number
from .release import Release as Release
from .report import write_report as write_report
