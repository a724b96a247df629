# The whole path on two CPU cores. Each line can be typed by hand; what exists is not made again.
PELAGOS := $(BIN)/pelagos
# Two processes on the CPU, whatever else this machine has.
export ACCELERATE_USE_CPU := 1
DATA := data/quickstart
RUNS := runs/quickstart
KNOWN := advection_1d heat_1d burgers_1d kuramoto_sivashinsky_1d
NEW := korteweg_de_vries_1d
DT_advection_1d := 0.02
DT_heat_1d := 0.02
DT_burgers_1d := 0.02
DT_kuramoto_sivashinsky_1d := 1
DT_korteweg_de_vries_1d := 0.2
# Two processes share the two cores.
TWO := $(BIN)/torchrun --standalone --nproc_per_node 2 -m
# The checkpoint that ships: an hour of pretraining, and a larger operator than the recipe's.
SHIPPED := --init-from pelagos:dymixop-1d --operator '{name: dymixop}' --optimizer.learning-rate 2e-3
# Fewer steps than the recipes have, so that all of it takes four minutes.
PRETRAIN_STEPS := 400
FINETUNE := --resume auto --steps 200 --objective.curriculum '{every: 5}'
STARTS := shipped finetuned scratch
# Frames that the report scores; the stored trajectories are longer.
STEPS := 25

quickstart: $(RUNS)/report.html
	@echo
	@echo "Report:       $(RUNS)/report.html (open it in a browser)"
	@echo "Checkpoints:  $(foreach run,pretrain $(STARTS),$(RUNS)/$(run)/checkpoint)"
	@echo "Next:         $(PELAGOS) data simulate --list"
	@echo "              then fine-tune on a PDE of your own choice: see README.md, \"Five-minute tour\""

# Order-only prerequisites (after |): newer does not mean different here.
$(DATA)/%/stats.yaml: | $(RUNTIME)
	@echo "── 1/5 simulate $*"
	$(PELAGOS) data simulate $* --out $(DATA) --resolution 128 --frames 61 --dt $(DT_$*) --test 32

$(RUNS)/pretrain/checkpoint: | $(KNOWN:%=$(DATA)/%/stats.yaml)
	@echo "── 2/5 pretrain on $(KNOWN), two processes"
	$(TWO) pelagos.pretrain quickstart $(RUNS)/pretrain --processes 2 --resume auto --steps $(PRETRAIN_STEPS)

$(RUNS)/finetuned/checkpoint: | $(RUNS)/pretrain/checkpoint $(DATA)/$(NEW)/stats.yaml
	@echo "── 3/5 fine-tune on $(NEW), which pretraining never saw"
	$(TWO) pelagos.finetune quickstart $(RUNS)/finetuned --init-from $(RUNS)/pretrain $(FINETUNE)

$(RUNS)/scratch/checkpoint: | $(RUNS)/pretrain/checkpoint $(DATA)/$(NEW)/stats.yaml
	@echo "── 3/5 the same operator on $(NEW) from scratch, same budget"
	$(TWO) pelagos.finetune quickstart $(RUNS)/scratch $(FINETUNE)

$(RUNS)/shipped/checkpoint: | $(DATA)/$(NEW)/stats.yaml
	@echo "── 3/5 fine-tune the checkpoint that ships on $(NEW), same budget"
	$(TWO) pelagos.finetune quickstart $(RUNS)/shipped $(SHIPPED) $(FINETUNE)

$(RUNS)/%/prediction.nc: | $(RUNS)/%/checkpoint
	@echo "── 4/5 predict and evaluate: $*"
	$(PELAGOS) predict $(RUNS)/$* $(DATA)/$(NEW) --trajectories 4 --steps $(STEPS)

$(RUNS)/%/evaluation.json: | $(RUNS)/%/checkpoint
	$(PELAGOS) evaluate $(RUNS)/$* $(DATA)/$(NEW) --steps $(STEPS)

$(RUNS)/report.html: | $(foreach run,$(STARTS),$(RUNS)/$(run)/prediction.nc $(RUNS)/$(run)/evaluation.json)
	@echo "── 5/5 report"
	$(PELAGOS) report $(foreach run,pretrain $(STARTS),$(RUNS)/$(run)) --out $@
