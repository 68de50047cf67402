# Options: make TARGET OPTION=value
#   CPUS      virtual CPUs of the demo kernel
#   CERT      certificate of whoever must have signed payloads, for `make kernel`
#   PREFIX    where `make install` puts the commands
#   FACTOR    multiplies every time limit of the runs in QEMU and every time budget of `make bench`,
#             for slow machines
#   MINUTES   how long `make fuzz` and `make coverage` mutate, and `make operators` operates
#   RUNS      after how many runs they stop, if that is sooner
#   SEED      where they and `make oracle` begin
#   COUNT     how many programs `make oracle` judges
#   MACHINE   what they are made for: x86-64 or arm64
#   RELEASE   which Xen `make xen` builds: 4.17 or 4.14, the second as root
#   SHARD     which part of the changes `make mutants` and `make mutants-runtime` make: 0/4 is every
#             fourth
#   WORDS     what else they tell xsplice-mutants: --most 40 puts off what 40 tests did not catch
CPUS    ?= 4
PREFIX  ?= /usr/local
FACTOR  ?= 1
CERT    ?=
MINUTES ?= 10
RUNS    ?= 2000000
SEED    ?= 1
COUNT   ?= 20000
MACHINE ?= x86-64
RELEASE ?= 4.17
SHARD   ?= 0/1
WORDS   ?=

CARGO ?= cargo
export XSPLICE_TIME_FACTOR := $(FACTOR)

COMMANDS := xsplice-build xsplice-store xsplice-diff xsplice-link xsplice-ctl

# Programs that builds and tests call, and the Debian packages that hold them.
PROGRAMS := gcc=gcc ld=binutils readelf=binutils patch=patch clang=clang openssl=openssl \
            qemu-system-x86_64=qemu-system-x86

# What programs for AArch64 are made and run with; a path stands for itself.
ARM64_PROGRAMS := aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu qemu-aarch64=qemu-user \
                  /usr/aarch64-linux-gnu/lib/libc.a=libc6-dev-arm64-cross

# What the tests call besides: the report is looked at in a real browser.
TEST_PROGRAMS := chromium=chromium ld.lld=lld script=bsdutils stty=coreutils \
                 clang-16=clang-16 clang-19=clang-19 zstd=zstd parallel=parallel $(ARM64_PROGRAMS)

.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: packages
packages:
	@tests/ensure-packages.sh $(PROGRAMS)

.PHONY: test-packages
test-packages:
	@tests/ensure-packages.sh $(PROGRAMS) $(TEST_PROGRAMS)

.PHONY: build
build: packages ## build the commands
	$(CARGO) build --release

.PHONY: demo
demo: packages ## build a kernel twice, make payloads, patch the running kernel and revert
	$(CARGO) build --release
	$(CARGO) run --release --quiet --bin demo -- --cpus $(CPUS)

.PHONY: kernel
kernel: packages ## boot the example kernel and leave it running
	$(CARGO) build --release
	$(CARGO) run --release --quiet --bin demo -- --cpus $(CPUS) --keep-running \
		$(if $(CERT),--cert $(CERT))

.PHONY: test
test: test-packages ## run all tests
	$(CARGO) build --workspace --exclude xsplice-testkernel
	$(CARGO) test --workspace --exclude xsplice-testkernel --no-fail-fast

.PHONY: bless
bless: test-packages ## rewrite the expected files of the cases and the transcripts
	XSPLICE_BLESS=1 $(CARGO) test --test cases
	TRYCMD=overwrite $(CARGO) test --test transcripts

.PHONY: refresh
refresh: packages ## rebuild the committed objects of the cases with the local compilers
	$(CARGO) run --release --bin refresh-cases

# Budgets of the commands first, then what each phase takes, then the kernel's figures.
.PHONY: bench
bench: packages ## measure the tools against their budgets of time and memory
	$(CARGO) build --release
	$(CARGO) run --release --quiet --bin bench
	$(CARGO) bench --quiet --bench phases
	$(CARGO) run --release --quiet --bin bench-kernel

FUZZ := --seconds $$(($(MINUTES) * 60)) --runs $(RUNS) --seed $(SEED)

.PHONY: fuzz
fuzz: packages ## mutate objects, extracts, bases and payloads, and print counts and findings
	$(CARGO) run --profile fuzz --bin fuzz -- $(FUZZ)

.PHONY: coverage
coverage: packages ## the same, and print which lines the mutations reach, by file
	@tests/ensure-packages.sh llvm-profdata-19=llvm-19 llvm-cov-19=llvm-19
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/tests/instrumented-rustc.sh \
		$(CARGO) build --profile fuzz --bin fuzz
	rm -rf out/coverage && mkdir -p out/coverage
	cp target/fuzz/fuzz out/coverage/fuzz
	-LLVM_PROFILE_FILE=out/coverage/%p.profraw out/coverage/fuzz $(FUZZ)
	llvm-profdata-19 merge -sparse out/coverage/*.profraw -o out/coverage/fuzz.profdata
	llvm-cov-19 report out/coverage/fuzz -instr-profile=out/coverage/fuzz.profdata \
		-ignore-filename-regex='/(registry|rustc|tests)/' -show-region-summary=false \
		-show-branch-summary=false | tee out/coverage/report.txt

.PHONY: oracle
oracle: packages ## judge payloads by what patched code answers, for COUNT programs from SEED on
	@tests/ensure-packages.sh $(if $(filter arm64,$(MACHINE)),$(ARM64_PROGRAMS))
	$(CARGO) build --release
	$(CARGO) run --release --quiet --bin xsplice-oracle -- --machine $(MACHINE) --seed $(SEED) --count $(COUNT)

.PHONY: kernel-many
kernel-many: packages ## boot 16 and 64 CPUs, patch a thousand times at 4, thousands of bad clients
	XSPLICE_KERNEL_MANY=1 $(CARGO) test --test booted_kernel

# In a folder of its own, so that the next build of the usual kernel has nothing to do.
.PHONY: kernel-debug
kernel-debug: packages ## the booted tests on a kernel whose locks and assertions are checked
	CARGO_PROFILE_KERNEL_DEBUG_ASSERTIONS=true CARGO_PROFILE_KERNEL_OVERFLOW_CHECKS=true \
		KERNEL_TARGET=$(CURDIR)/target/kernel-debug \
		$(CARGO) test --test booted_kernel

.PHONY: operators
operators: packages ## an hour (MINUTES) of operators at random against a booted kernel
	XSPLICE_OPERATORS_SECONDS=$$(($(if $(filter file,$(origin MINUTES)),60,$(MINUTES)) * 60)) \
		XSPLICE_SEED=$(SEED) $(CARGO) test --test booted_kernel

# Minutes: those of two CPUs, and of three that switch where they wait, run with every test.
.PHONY: loom
loom: ## search the memory orders of a rendezvous of three CPUs to the end (takes minutes)
	$(CARGO) test -p xsplice-runtime --test rendezvous_loom -- --ignored --nocapture --test-threads 1

# All changes are compiled at once, in a copy below target. What no test can catch is in
# tests/mutants/explained.tsv; anything else that is left over is printed, and the target fails.
MUTANTS := $(CARGO) run --release --quiet --bin xsplice-mutants -- --shard $(SHARD) \
	--explained tests/mutants/explained.tsv $(WORDS)

.PHONY: mutants-runtime
mutants-runtime: packages ## change the runtime in one place after the other, and see tests fail
	$(MUTANTS) --copy target/mutants-runtime --out out/mutants-runtime.tsv \
		$(foreach part,act patch check payload load read channel,--change runtime/src/$(part)/) \
		-- --package xsplice-runtime --all-features --lib --test runtime --test fault_handlers --test no_memory \
		--test rendezvous_order

# What decides in differ, linker and account, where a silent miss would be made first; the tests are
# theirs and the cases.
DECIDES := $(foreach part,compare rules include,xsplice-diff/src/$(part)/) \
	$(foreach part,proof resolve base,xsplice-link/src/$(part)/) \
	$(foreach part,follow link after,xsplice-account/src/$(part)/) \
	$(foreach part,correlate merged read,xsplice-diff/src/$(part)/) \
	xsplice-link/src/merge/ $(foreach part,base read,xsplice-account/src/$(part)/)

.PHONY: mutants
mutants: test-packages ## the same for what decides in differ, linker and account (takes hours)
	$(MUTANTS) --copy target/mutants --out out/mutants.tsv $(DECIDES:%=--change %) \
		--commands --skip ' [' -- --workspace --exclude xsplice-testkernel --lib \
		--test cases --test objects --test build --test link --test faults

.PHONY: xen
xen: packages ## build the real Xen twice, boot it, and load payloads with its stock tool
	$(CARGO) build --release
	$(CARGO) run --release --quiet --bin xen -- --release $(RELEASE)

.PHONY: xen-arm64
xen-arm64: packages ## the same for AArch64: a Xen made by a cross compiler, booted in QEMU
	$(CARGO) build --release
	$(CARGO) run --release --quiet --bin xen -- --machine arm64

.PHONY: xen-each
xen-each: ## change one number in each function of the Xen that `make xen` built: what is refused?
	$(CARGO) run --release --quiet --bin xen-each

.PHONY: identity
identity: packages ## build real projects twice: what is the same must come out as no change
	$(CARGO) build --release
	$(CARGO) run --release --quiet --bin identity

# Needs tens of minutes and a gigabyte the first time; the builds of Xen are kept.
.PHONY: many-builds
many-builds: packages ## ship one fix for five builds, two of Xen: store, shards, provenance
	$(CARGO) build --release
	$(CARGO) run --release --quiet --bin many-builds

# One tool of its own below target, as above.
MDBOOK         := target/tools/bin/mdbook
MDBOOK_VERSION := 0.5.4

$(MDBOOK):
	$(CARGO) install mdbook --version $(MDBOOK_VERSION) --locked --root target/tools --target-dir target/tools/build

.PHONY: book
book: $(MDBOOK) ## the documents as one book of HTML pages, in out/book
	$(CARGO) run --quiet --bin book -- --out out/book
	$(MDBOOK) build out/book

.PHONY: install
install: build install-files ## put the commands, their manual pages and completions below PREFIX

.PHONY: install-files
install-files:
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(COMMANDS:%=target/release/%) $(DESTDIR)$(PREFIX)/bin
	target/release/xsplice-manual $(DESTDIR)$(PREFIX)

# Into an empty folder, by the way that does without this Makefile.
INSTALLED := out/installed

.PHONY: install-try
install-try: packages ## install the commands by cargo into an empty folder, and try them there
	rm -rf $(INSTALLED)
	for package in xsplice-build xsplice-diff xsplice-link runtime/ctl; do \
		$(CARGO) install --locked --path $$package --root $(INSTALLED) || exit 1; \
	done
	packaging/try-readme.sh $(INSTALLED)/bin out/readme

.PHONY: deb
deb: build ## the Debian package of the commands, in out/deb
	@tests/ensure-packages.sh dpkg-shlibdeps=dpkg-dev lintian=lintian
	packaging/make-deb.sh out/deb
	lintian --fail-on error out/deb/*.deb

.PHONY: deb-try
deb-try: deb ## install, try and remove the package in a fresh Debian root (as root)
	@tests/ensure-packages.sh mmdebstrap=mmdebstrap
	packaging/try-deb.sh out/deb/*.deb out/deb-root

# Each picture is to be looked at before it is committed.
.PHONY: pictures
pictures: test-packages ## make the pictures of the report in docs/images anew
	$(CARGO) build --release
	docs/images/refresh.sh target/release out/pictures

.PHONY: lint
lint: ## formatting, lints (warnings are errors) and dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --exclude xsplice-testkernel --all-targets -- -D warnings
	$(CARGO) clippy --profile kernel -p xsplice-testkernel -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; \
	else echo "cargo-deny is not installed: dependencies are not checked against deny.toml"; fi

.PHONY: clean
clean: ## remove what was built
	$(CARGO) clean
	rm -rf out
