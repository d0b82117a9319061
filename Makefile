# Thin: CMake does the work. `make sweep` and `make test` do all set-up on a fresh Debian machine.
BUILD ?= build
GRID  ?= default
MODEL ?=
DATA  ?=
CMAKE_FLAGS ?=
PACKAGES = build-essential cmake pkg-config libdnnl-dev liblapacke-dev libopenblas-dev libjansson-dev libjpeg-dev libpng-dev \
           libhdf5-dev hdf5-tools libsqlite3-dev libyaml-dev libcurl4-openssl-dev libxlsxwriter-dev libavformat-dev libavcodec-dev \
           libavutil-dev libswscale-dev libcmocka-dev gnuplot-nox
WINNOW = $(BUILD)/winnow
# A sweep's results: of a built-in grid, or of a file that is called like its `name:`.
NAME   = $(basename $(notdir $(GRID)))
STORE  = results/$(NAME)/$(NAME).db

MAKEFLAGS += --no-print-directory

.PHONY: all setup build build-all sweep test report bench docs format help clean sanitize slurm

all: build

# Installs what is missing and says what; without root it prints the one command and stops with status 3.
setup:
	@missing=; for p in $(PACKAGES); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] && exit 0; \
	command="apt-get install -y --no-install-recommends$$missing"; \
	if [ "$$(id -u)" = 0 ]; then run=; elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then run=sudo; \
	else echo "winnow needs these Debian packages; as root run:"; echo "  $$command"; exit 3; fi; \
	echo "installing:$$missing"; \
	{ $$run apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$run $$command -qq >$${TMPDIR:-/tmp}/winnow-apt.log 2>&1; } \
	|| { tail -n 20 $${TMPDIR:-/tmp}/winnow-apt.log; echo "apt failed; run as root: $$command"; exit 3; }

$(BUILD)/Makefile: | setup
	@cmake -S . -B $(BUILD) $(CMAKE_FLAGS) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 2; }; mv $(BUILD).log $(BUILD)/configure.log

build: setup $(BUILD)/Makefile
	@cmake --build $(BUILD) -j $$(nproc) --target winnow

# The tests too.
build-all: setup $(BUILD)/Makefile
	@cmake --build $(BUILD) -j $$(nproc)

sweep: build
	@$(WINNOW) sweep '$(GRID)' $(if $(MODEL),--model '$(MODEL)') $(if $(DATA),--data '$(DATA)'); status=$$?; \
	if [ $$status -gt 1 ]; then exit $$status; fi; \
	$(WINNOW) report '$(STORE)' -o 'results/$(NAME)' && exit $$status

report: build
	@$(WINNOW) report '$(STORE)' -o 'results/$(NAME)'

test: build-all slurm sanitize
	@$(WITH_SLURM) ctest --test-dir $(BUILD) -j $$(nproc) --output-on-failure

# The same tests under the address and undefined-behaviour sanitizers.
sanitize: setup
	@$(MAKE) BUILD=$(BUILD)-sanitize CMAKE_FLAGS="-DWINNOW_SANITIZE=ON" build-all
	@$(WITH_SLURM) ctest --test-dir $(BUILD)-sanitize -j $$(nproc) --output-on-failure

# Slurm's programs for tests/test_slurm.c (3 MB), where they are not installed: only unpacked, so that no
# service of theirs starts. Without them that one test is skipped.
SLURM_ROOT = $(abspath $(BUILD))/slurm
WITH_SLURM = WINNOW_SLURM_ROOT=$(SLURM_ROOT)
slurm: setup
	@[ -d $(SLURM_ROOT) ] || [ -e /usr/sbin/slurmctld ] || { new=$(SLURM_ROOT).tmp-$$$$; mkdir -p $$new/debs/partial && \
	apt-get install -qq -y --no-install-recommends --download-only -o Debug::NoLocking=1 -o Dir::Cache::archives=$$new/debs \
	  munge slurmctld slurmd slurm-client >$$new/log 2>&1 && \
	for deb in $$new/debs/*.deb; do dpkg -x $$deb $$new || exit 1; done && rm -r $$new/debs && mv $$new $(SLURM_ROOT) || \
	{ rm -rf $$new; echo "Slurm's packages cannot be fetched: its test will be skipped"; }; }

bench: build
	@$(WINNOW) bench --geometry miniature --methods vanilla,sparsevlm,fastv,random --budgets 192,128,64

# The tables and the example that the pages quote; tests/test_docs.c fails where they are stale.
docs: build
	@for page in docs/*.md; do \
	  awk -v winnow=$(WINNOW) -f docs/refresh.awk $$page >$$page.tmp-$$$$ && \
	  { cmp -s $$page.tmp-$$$$ $$page || { cp $$page.tmp-$$$$ $$page && echo "$$page"; }; rm -f $$page.tmp-$$$$; } \
	  || { rm -f $$page.tmp-$$$$; exit 1; }; done

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

help:
	@echo "make            build $(BUILD)/winnow"
	@echo "make sweep      set up, build, run a sweep and write its report [GRID=NAME|FILE MODEL=DIR DATA=DIR]; docs/sweeps.md"
	@echo "make test       all tests, then again under the sanitizers"
	@echo "make report     write the report of a sweep again [GRID=NAME]"
	@echo "make bench      time the methods on the miniature's geometry"
	@echo "make docs       put the tables of parameters and the example into docs/ anew"
	@echo "make format     clang-format"

clean:
	@rm -rf $(BUILD) $(BUILD)-sanitize
