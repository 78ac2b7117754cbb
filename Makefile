# The front door: `make` builds, `make run` shows it at work, `make help` lists the rest. Meson and Ninja do the work.
#   VARIANT=release (default: build/), debug (ASan and UBSan: build-debug/), tsan (build-tsan/);  CC=clang is honoured too.

VARIANT ?= release
BUILD_release = build
BUILD_debug   = build-debug
BUILD_tsan    = build-tsan
SETUP_release = --buildtype=release -Ddebug=true
SETUP_debug   = --buildtype=debug -Db_sanitize=address,undefined -Db_lundef=false
SETUP_tsan    = --buildtype=debug -Db_sanitize=thread -Db_lundef=false
BUILD = $(BUILD_$(VARIANT))
ifeq ($(BUILD),)
$(error VARIANT is one of release, debug, tsan)
endif

SYNOD      = $(BUILD)/synod
SEEDS     ?= 5000
SOAK_HOURS ?= 8
FUZZ_SECONDS ?= 60
PREFIX    ?= /usr/local
RUN       ?=

.PHONY: all run test sim soak canary fuzz bench check format install clean deps help
all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)
	@ln -sfn src/cli/synod $(SYNOD)

deps:
	@tools/deps

$(BUILD)/build.ninja: | deps
	meson setup $(BUILD) $(SETUP_$(VARIANT)) --prefix $(PREFIX)

run: all
	@tools/deps --demo || true   # the demo leaves out what is not there
	$(SYNOD) demo $(RUN)

test: all
	@tools/deps --test
	@tools/run-tests $(BUILD)

sim: all
	$(SYNOD) sim --seeds $(SEEDS)

soak: all
	$(SYNOD) sim --soak-hours $(SOAK_HOURS)

canary: all
	tools/canary

fuzz: all
	tools/deps --test
	tools/fuzz $(FUZZ_SECONDS)

bench: all
	tools/deps --test
	bench/run --synod $(SYNOD)
	bench/ring --synod $(SYNOD)
	bench/jobs --synod $(SYNOD)

check: all
	tools/deps --test
	tools/format --check
	tools/tidy
	tools/purity $(BUILD)

format:
	tools/format

install: all
	meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD)

help:
	@sed -n '/^[a-z]*:/s/:.*//p' Makefile | sort -u | tr '\n' ' '; echo
