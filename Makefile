# `make` builds, `make test` proves, `make demo` shows. `make deps` installs what is missing on Debian 12 or 13.
BUILD ?= build
JOBS ?= 2
NINJA = ninja -j $(JOBS)
DESTDIR ?=
SETUP ?=

.PHONY: all build deps demo test test-sanitize coverage test-tsan test-debian13 test-recovery fuzz torture bench docs format install clean

all: build

$(BUILD)/build.ninja:
	tools/install-deps.sh --check build
	meson setup $(SETUP) $(BUILD)

build: $(BUILD)/build.ninja
	$(NINJA) -C $(BUILD)

deps:
	tools/install-deps.sh

demo:
	@tools/install-deps.sh demo
	@$(MAKE) -s $(BUILD)/build.ninja
	@$(NINJA) -C $(BUILD) proofkeep
	@PROOFKEEP=$(BUILD)/proofkeep tools/demo/demo.sh

# The last line that it prints is "N passed, N failed, N skipped".
test:
	@tools/install-deps.sh
	@JOBS=$(JOBS) test/run

test-sanitize:
	@JOBS=$(JOBS) test/run --only sanitize

# Lines of src/ that the unit tests and the end-to-end tests run, by file, by layer and in all.
coverage:
	@tools/install-deps.sh
	@JOBS=$(JOBS) test/coverage.sh

test-tsan:
	@tools/install-deps.sh
	test/tsan.sh

test-debian13:
	test/debian13.sh

# 200 random instants of a busy server's life, 50 for each way of base backup and of WAL.
test-recovery: build
	BUILD=$(BUILD) test/recovery/all.sh

fuzz:
	@tools/install-deps.sh
	test/fuzz/run.sh

torture:
	@tools/install-deps.sh
	test/torture.sh

bench: build
	bench/run.sh

# The copies in doc/ of what is made from the tables of options, errors, exit statuses and metrics.
docs: $(BUILD)/build.ninja
	$(NINJA) -C $(BUILD) src/cli/proofkeep-docgen src/platform/schema_gen
	{ $(BUILD)/src/cli/proofkeep-docgen list | sed 's|^|cli/proofkeep-docgen |'; \
	  echo 'platform/schema_gen json doc/reference/proofkeep.schema.json'; \
	  echo 'platform/schema_gen markdown doc/reference/configuration.md'; } | while read -r program kind place; do \
	  $(BUILD)/src/$$program $$kind > $$place.new && mv $$place.new $$place || exit 1; done

format:
	find src test -name '*.[ch]' -exec clang-format -i {} +

install: build
	meson install --no-rebuild -C $(BUILD) $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))

clean:
	rm -rf $(BUILD) build-asan build-cov build-tsan build-fuzz
