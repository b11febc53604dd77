# cauce: the extension (PGXS) and the commands of the house.
#
#	make            build the extension
#	make install    install it (root)
#	make worker     build cauce-worker
#	make demo       install what is missing, build, run the main job on recorded speech
#	make check      install what is missing, build with gcc and clang, run every test
#	make check-long longer proof: 20,000 random statements, kills at every step, many due sessions
#	make bench      install what is missing, build, measure against plaintext and pgcrypto
#	make fuzz       the worker's parsers on random input, for FUZZ_SECONDS (600)

EXTENSION = cauce
MODULE_big = cauce
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
DATA = cauce--1.0.sql
PGFILEDESC = "cauce - text kept in confidence"

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
ISOLATION = $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl
PROVE_FLAGS = -I test/lib

# PG_FUNCTION_ARGS and the server's callback signatures leave parameters unused.
PG_CFLAGS = -Wall -Wextra -Werror -Wno-unused-parameter
# PG_TRY()'s own variable trips gcc's -Wclobbered; the server's flags are gcc's, not all clang's.
ifeq ($(findstring clang,$(CC)),)
PG_CFLAGS += -Wno-clobbered
else
PG_CFLAGS += -Wno-ignored-optimization-argument -Wno-unknown-warning-option
PG_CPPFLAGS = -isystem $(shell $(PG_CONFIG) --includedir-server)
endif
SHLIB_LINK = -lcrypto -ljansson -lz -ldl

PG_CONFIG ?= pg_config

# The house's own goals; they may run before there is a pg_config.
HOUSE = demo check check-long bench fuzz format worker

ifeq ($(filter $(HOUSE),$(MAKECMDGOALS)),)

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# The server may have been built without dependency tracking.
$(OBJS): $(wildcard src/*.h)

else

.PHONY: $(HOUSE)

worker:
	$(MAKE) -C worker

demo:
	dev/demo

check:
	dev/check

check-long:
	dev/check-long

bench:
	bench/run

fuzz:
	dev/deps
	$(MAKE) -s -C worker fuzz

format:
	clang-format -i src/*.[ch] bench/*.c test/*/*.c worker/src/*.[ch] worker/bench/*.c worker/test/unit/*.c worker/test/fuzz/*.[ch]

endif
