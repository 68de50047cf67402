# One patch over many builds, in N shards side by side, joined to one folder of results:
#
#   make -f hotpatch-many.mk -j4 STORE=builds PATCH=fix.patch RESULTS=results N=4
#
# OPTIONS are further options of xsplice-build, such as '--abi livepatch'. What was made stays when the
# command runs again. The same with GNU parallel, and with other machines by its option --sshlogin:
#
#   parallel xsplice-build --store builds --patch fix.patch --shard {}/4 -o results/shard-{} ::: 1 2 3 4
#   xsplice-store merge -o results results/shard-*
STORE   ?= builds
PATCH   ?= fix.patch
RESULTS ?= results
N       ?= 4
OPTIONS ?=

SHARDS := $(shell seq $(N))
PARTS  := $(SHARDS:%=$(RESULTS)/shard-%)

.PHONY: all $(PARTS)
all: $(PARTS)
	xsplice-store merge -o $(RESULTS) $(PARTS)

# Only a shard that left no results stops here; the report of all tells what could not be made.
$(PARTS): $(RESULTS)/shard-%:
	mkdir -p $(RESULTS)
	xsplice-build --store $(STORE) --patch $(PATCH) --shard $*/$(N) -o $@ $(OPTIONS) || test -f $@/index.json
