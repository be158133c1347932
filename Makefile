# The recipes that people and CI share. `make help` lists them.
# Nothing is downloaded but crates and Debian packages; the packages are those of docker/packages.txt.

DATA ?= data
LISTEN ?= 127.0.0.1:8080
MATINEE := target/release/matinee
FUZZ_MINUTES ?= 10
CORPUS ?= ../shared/corpus
comma := ,

.DEFAULT_GOAL := help
.PHONY: help run build test corpus mutants fuzz soak check bench

help:
	@echo "make run                 build, add a demonstration film if the library is empty, serve on $(LISTEN)"
	@echo "make run MEDIA=film.mp4  the same with a film of your own; each call adds it once more"
	@echo "make test                every test"
	@echo "make corpus              every file of CORPUS, a folder of real ones, walked by validators (most of an hour)"
	@echo "make mutants             break files of CORPUS 500 times: each has to play or be refused (a quarter of an hour)"
	@echo "make fuzz                coverage-guided fuzzers of all readers, FUZZ_MINUTES (10) for each of five, or ONLY=index"
	@echo "make soak                viewers, uploads and killed workers for an hour, or SOAK_MINUTES"
	@echo "make check               formatting, lints, layering, documentation"
	@echo "make bench               side by side with ffmpeg and nginx, as ratios; a day of viewers"
	@echo "make build               the release binary, $(MATINEE)"
	@echo "DATA=folder and LISTEN=address:port change where run keeps its data ($(DATA)) and listens ($(LISTEN))"

build:
	@scripts/packages.sh run build
	cargo build --release --locked

# The library is empty as long as it holds no file: sources arrive there by one rename, after they were understood.
# `exec` makes the server the process that Ctrl-C reaches.
run: build
ifdef MEDIA
	$(MATINEE) ingest --data "$(DATA)" "$(MEDIA)"
else
	@if [ -z "$$(find "$(DATA)/library" -name source -type f 2>/dev/null | head -n 1)" ]; then \
		set -e; \
		scripts/packages.sh demo; \
		echo "The library is empty: making a demonstration film (about 20 s) ..."; \
		trap 'rm -f "$(DATA)/demo.mp4"' EXIT; \
		scripts/demo.sh "$(DATA)/demo.mp4"; \
		$(MATINEE) ingest --data "$(DATA)" "$(DATA)/demo.mp4"; \
	fi
endif
	@echo
	@echo "Open http://$(LISTEN)/ for the list of titles and their playback addresses; Ctrl-C stops the server."
	@echo
	@exec $(MATINEE) serve --listen "$(LISTEN)" --data "$(DATA)"

test:
	@scripts/packages.sh run build demo test
	cargo test --locked

define needs_corpus
@[ -e "$(CORPUS)/MANIFEST.json" ] || { echo "make $@: there is no $(CORPUS)/MANIFEST.json: set CORPUS to a folder of films" >&2; exit 1; }
endef

# Needs a folder of real files, CORPUS=folder (../shared/corpus); CHECK_HOME=folder has the validators. What both hold is
# told in docs/ARCHITECTURE.md, "Real files". FILMS="part of a name" walks only some.
corpus mutants: export CORPUS := $(CORPUS)
corpus:
	$(needs_corpus)
	@scripts/packages.sh run build demo test
	cargo test --release --locked --test suite corpus:: -- --include-ignored --nocapture --test-threads=1

# Needs CORPUS, too. MUTANTS=100..200 makes only some; a mutant is a function of its number.
mutants:
	$(needs_corpus)
	@scripts/packages.sh run build demo test
	cargo test --locked --test suite mutants:: -- --include-ignored --nocapture --test-threads=1

# ONLY=index,protocol runs only some of index, timeline, packagers, protocol and requests; KEEP=1 keeps what was found in
# fuzz/corpora, where the ordinary suite runs it again.
fuzz:
	@scripts/packages.sh run build
	scripts/fuzz.sh $(FUZZ_MINUTES) $(subst $(comma), ,$(ONLY))

soak:
	@scripts/packages.sh run build demo test
	cargo test --locked --test suite soak:: -- --include-ignored --nocapture

# Cheapest first. The layering test is one of the repository's rules, which `make test` runs as well.
check:
	@scripts/packages.sh run build
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --test suite repository::
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# Within a quarter of an hour on a quiet machine of two cores. ONLY=1,4 measures only some.
bench:
	@scripts/packages.sh run build demo test bench
	BENCH_LINES=$(ONLY) cargo bench --locked --bench peers
	cargo bench --locked --bench day
