# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# sluice: `make` builds into build/ and needs no root. `make help` lists the targets.
SHELL := /bin/bash
B := build
CC ?= cc
CLANG ?= clang
# Versions differ in what they want: 14 decides, if it is here.
CLANG_FORMAT ?= $(notdir $(firstword $(wildcard /usr/bin/clang-format-14) clang-format))
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/local/sbin/bpftool) bpftool)
PREFIX ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
DESTDIR ?=
ARCH := $(shell uname -m | \
	sed 's/x86_64/x86/;s/aarch64/arm64/;s/ppc64le/powerpc/;s/s390x/s390/;s/riscv64/riscv/')
VERSION := 0.1.0
SCDOC ?= scdoc
# The library that the page plots with; it becomes part of sluiced.
CHART_JS ?= /usr/share/javascript/chart.js/chart.min.js

# WERROR=0 lets warnings pass, for compilers that are newer than this tree.
ERRORS := $(if $(filter 0,$(WERROR)),,-Werror)
WARN := -Wall -Wextra $(ERRORS) -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wno-unused-parameter
CFLAGS ?= -O2 -g
USER_CFLAGS := -std=gnu11 $(WARN) -Iinclude -Iuser -I$(B) -D_GNU_SOURCE \
	-DSLUICE_VERSION='"$(VERSION)"' -MMD -MP
# The linker saves registers on the stack when it binds a function late, and a key may be in them.
BIND_NOW := -Wl,-z,relro,-z,now
BPF_CFLAGS := -O2 -g -target bpf -mcpu=v3 -D__TARGET_ARCH_$(ARCH) \
	-Wall -Wextra $(ERRORS) -Wno-unused-parameter -ffile-prefix-map=$(CURDIR)=. \
	-Iinclude -I$(shell $(CC) -print-multiarch 2>/dev/null | sed 's,^,/usr/include/,') -MMD -MP
SANITIZE := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

BPF_OBJS := $(patsubst bpf/%.bpf.c,$(B)/%.bpf.o,$(wildcard bpf/*.bpf.c))
LIB_SRCS := $(wildcard user/core/*.c user/desired/*.c user/config/*.c user/control/*.c \
	user/log/*.c user/metrics/*.c user/fleet/*.c user/loop/*.c user/datapath/*.c \
	user/daemon/*.c)
LIB_OBJS := $(LIB_SRCS:%.c=$(B)/%.o)
# What only sluicectl has. user/top needs curses.
CTL_OBJS := $(patsubst %.c,$(B)/%.o,$(wildcard user/ctl/*.c user/top/*.c))
LIBS := -lbpf -lelf -lz -lcyaml -ljansson
DAEMON_LIBS := -lhiredis -lmicrohttpd -lgnutls
TERMINAL_LIBS := -lncursesw
# STATIC=1: sluicectl and sluice-sim need no shared library, sluiced those of C, HTTP and TLS.
# The static libmicrohttpd wants GnuTLS, and that p11-kit, which comes as a shared library only.
ifdef STATIC
LIBS := -Wl,-Bstatic $(shell pkg-config --static --libs libbpf libelf libcyaml jansson)
TERMINAL_LIBS := $(shell pkg-config --static --libs ncursesw)
DAEMON_LIBS := -Wl,-Bstatic -lhiredis -Wl,-Bdynamic -lmicrohttpd -lgnutls
$(B)/sluicectl $(B)/sluice-sim: LDFLAGS += -static
endif
# The simulator consists of core, its own files, one of config, and the engine of fleet. It needs no
# libbpf, no hiredis and no root.
SIM_OBJS := $(patsubst %.c,$(B)/%.o,$(wildcard user/sim/*.c user/calibrate/*.c user/core/*.c \
	user/config/endpoint.c user/fleet/sync.c user/fleet/budgets.c \
	user/fleet/key.c))
UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/%,$(wildcard tests/unit/test_*.c))
# Unit tests use the pure code only, all of it under the sanitizers.
UNIT_SRCS := $(wildcard user/core/*.c user/desired/*.c user/config/*.c user/control/*.c \
	user/log/*.c user/metrics/*.c user/fleet/*.c user/loop/*.c user/sim/*.c user/calibrate/*.c \
	$(filter-out user/top/screen.c,$(wildcard user/top/*.c)))
UNIT_OBJS := $(UNIT_SRCS:%.c=$(B)/asan/%.o)
FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,$(B)/fuzz/fuzz_%,$(wildcard tests/fuzz/fuzz_*.c))
MAN_PAGES := $(patsubst user/man/%.scd,$(B)/man/%,$(wildcard user/man/*.scd))
DATAPATH_TESTS := $(patsubst tests/datapath/%.c,$(B)/%,$(wildcard tests/datapath/test_*.c))

COMPLETIONS := $(B)/completion/bash $(B)/completion/_sluice

.PHONY: all tools man help clean check test test-check test-unit test-datapath test-e2e demo \
	demo-fleet bench bench-wire fuzz test-kernels test-compilers sim-table install uninstall \
	deps format tidy
all: $(B)/sluiced $(B)/sluicectl $(B)/sluice-sim man $(COMPLETIONS)
man: $(MAN_PAGES)
tools: $(B)/mock_server $(B)/loadgen

help:
	@echo 'make [all]                builds the programs and their man pages into build/'
	@echo '                          with CC, CFLAGS, CPPFLAGS, LDFLAGS; STATIC=1 links most'
	@echo '                          libraries statically, WERROR=0 lets warnings pass'
	@echo 'make man                  the man pages alone, into build/man/'
	@echo 'make check                format, linters, man pages, links and references; no root'
	@echo 'make test                 check and all tests; test-check, test-unit, test-datapath,'
	@echo '                          test-e2e run one layer'
	@echo 'make format [FIX=1]       reports what is not formatted, or formats it'
	@echo 'make tidy                 clang-tidy alone'
	@echo 'make fuzz                 each fuzzer for FUZZ_SECONDS'
	@echo 'make test-kernels         the tests in virtual machines with other kernels'
	@echo 'make test-compilers       what verifiers walk, by kernel and clang, those of sid too'
	@echo 'make demo                 a load with sluice and without it, side by side'
	@echo 'make demo-fleet           one quota over three hosts, by a real store'
	@echo 'make bench                what sluice costs a packet, a request and a refusal'
	@echo 'make bench-wire TRACES=DIR, make sim-table TRACES=DIR'
	@echo '                          policies on the wire and in the simulator, by real traces'
	@echo 'make install, uninstall   with DESTDIR, PREFIX, SBINDIR, SYSCONFDIR, UNITDIR,'
	@echo '                          BASHDIR, ZSHDIR'
	@echo 'make deb                  a Debian package, in build/'
	@echo 'make test-packages [SUITES=...]'
	@echo '                          builds, installs, upgrades, removes it in roots of Debian'
	@echo 'make clean'

$(B)/%.bpf.o: bpf/%.bpf.c
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@

$(B)/sluice.bpf.o: $(BPF_OBJS)
	$(BPFTOOL) gen object $@ $^

$(B)/sluice.skel.h: $(B)/sluice.bpf.o
	$(BPFTOOL) gen skeleton $< name sluice_bpf > $@.tmp && mv $@.tmp $@

$(filter $(B)/user/datapath/%,$(LIB_OBJS)): $(B)/sluice.skel.h
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(USER_CFLAGS) -c $< -o $@

# The script as strings of C, one a line.
$(B)/%_script.h: user/fleet/%.lua Makefile
	@mkdir -p $(@D)
	sed -e 's/[\\"]/\\&/g; s/.*/"&\\n"/' -e '1i static const char $*_script[] =' \
		-e '$$a ;' $< >$@
$(B)/user/fleet/call.o $(B)/asan/user/fleet/call.o: $(B)/fleet_script.h
$(B)/user/fleet/rules.o $(B)/asan/user/fleet/rules.o: $(B)/rules_script.h

ASSETS := $(addsuffix /user/metrics/assets.o,$(B) $(B)/asan)
$(ASSETS): user/metrics/page.js user/metrics/page.css $(CHART_JS)
$(ASSETS): USER_CFLAGS += -DCHART_JS='"$(CHART_JS)"'

$(B)/libsluice.a: $(LIB_OBJS)
	rm -f $@ && ar rcs $@ $^

$(B)/sluiced: $(B)/user/sluiced.o $(B)/libsluice.a
	$(CC) $(CFLAGS) $(BIND_NOW) $(LDFLAGS) $^ -o $@ $(LIBS) $(DAEMON_LIBS) -lm

$(B)/sluicectl: $(B)/user/sluicectl.o $(CTL_OBJS) $(B)/libsluice.a
	$(CC) $(CFLAGS) $(BIND_NOW) $(LDFLAGS) $^ -o $@ $(LIBS) $(TERMINAL_LIBS) -lm

$(B)/sluice-sim: $(B)/user/sluice-sim.o $(SIM_OBJS)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ -o $@ -ljansson -lm

$(B)/man/%: user/man/%.scd
	@mkdir -p $(@D)
	$(SCDOC) <$< >$@.tmp && mv $@.tmp $@

$(B)/completion/bash: user/completion/words.sh user/completion/bash.sh
	@mkdir -p $(@D)
	cat $^ >$@
$(B)/completion/_sluice: user/completion/words.sh user/completion/zsh.zsh
	@mkdir -p $(@D)
	(echo '#compdef sluicectl sluiced sluice-sim' && cat $^) >$@

$(B)/mock_server: $(wildcard tests/mock/server_*.c) user/sim/engine.c user/sim/engine.h
$(B)/loadgen: $(wildcard tests/mock/load_*.c)
$(B)/mock_server $(B)/loadgen: $(B)/%: tests/mock/%.c \
		$(wildcard tests/mock/common_*.c tests/mock/*.h)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -std=gnu11 $(WARN) -D_GNU_SOURCE -Itests/mock -Iuser \
		$(filter %.c,$^) -o $@ -ljansson -lm

$(B)/asan/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) $(USER_CFLAGS) -c $< -o $@

# test_desired links core and desired alone: what they may not know is an undefined symbol here.
PURE_OBJS := $(patsubst %.c,$(B)/asan/%.o,$(wildcard user/core/*.c user/desired/*.c))
$(B)/test_desired: tests/unit/test_desired.c $(PURE_OBJS)
	$(CC) $(SANITIZE) $(USER_CFLAGS) -Itests/unit $< $(filter %.o,$^) -o $@ -lcmocka -lm

$(filter-out $(B)/test_desired,$(UNIT_TESTS)): $(B)/%: tests/unit/%.c $(UNIT_OBJS)
	$(CC) $(SANITIZE) $(USER_CFLAGS) -Itests/unit $< $(filter %.o,$^) -o $@ \
		-lcmocka -lcyaml -ljansson $(DAEMON_LIBS) -lm

$(DATAPATH_TESTS): $(B)/%: tests/datapath/%.c $(B)/libsluice.a $(B)/sluice.skel.h \
		$(wildcard tests/datapath/*.h)
	$(CC) $(CFLAGS) $(USER_CFLAGS) $(WRAP) -Itests/datapath $(filter %.c %.a,$^) -o $@ \
		-lcmocka $(LIBS) $(DAEMON_LIBS) -lm
# Tests of the maps alone load no program for packets: see maps_only.h.
$(addprefix $(B)/test_,adopt age carry maps names policy services): \
	WRAP := -Wl,--wrap=programs_open
# It counts what is written to maps.
$(B)/test_policy: WRAP += -Wl,--wrap=bpf_map_update_elem,--wrap=bpf_map_delete_elem

deps:
	scripts/install-deps build check test

check:
	scripts/install-deps build check
	$(MAKE) --no-print-directory build-check
	scripts/check
test:
	scripts/run-tests check unit datapath e2e
test-check test-unit test-datapath test-e2e: test-%:
	scripts/run-tests $*
# scripts/run-tests builds these before it runs a layer.
build-check: all
build-unit: $(UNIT_TESTS)
build-datapath: $(DATAPATH_TESTS)
build-e2e: all tools
.PHONY: build-check build-unit build-datapath build-e2e

demo:
	scripts/demo
demo-fleet:
	scripts/demo-fleet

test-kernels:
	scripts/test-kernels

$(B)/verified: tests/kernels/verified.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(USER_CFLAGS) $< -o $@ -lbpf -lelf -lz
test-compilers:
	scripts/test-compilers --kernel 6.1 --kernel 6.12 --suite sid \
		$(sort $(notdir $(wildcard /usr/bin/clang-[0-9][0-9])))

# Rewrites the tables of user/docs/simulation.md and fleet.md. TRACES is the directory of the two
# Azure traces of 2023.
sim-table: $(B)/sluice-sim
	scripts/sim-table $(TRACES)

# Fuzzers need clang's sanitizers, whatever CC is. FUZZ_SECONDS is the time of each.
$(FUZZERS): $(B)/fuzz/%: tests/fuzz/%.c
	@mkdir -p $(@D)
	$(CLANG) $(SANITIZE) -fsanitize=fuzzer $(USER_CFLAGS) $< -o $@ \
		-ljansson $(if $(findstring http1,$@),-lhttp_parser)
build-fuzz: $(FUZZERS)
fuzz:
	scripts/run-fuzz $(FUZZ_SECONDS)
# Compiles them without the runtime, and writes nothing.
syntax-fuzz:
	printf '%s\n' $(wildcard tests/fuzz/fuzz_*.c) | xargs -n 1 -P $$(nproc) $(CLANG) \
		-fsyntax-only $(SANITIZE) $(filter-out -MMD -MP,$(USER_CFLAGS))

$(B)/bench_packets: tests/bench/bench_packets.c $(B)/sluice.skel.h $(B)/libsluice.a
	$(CC) $(CFLAGS) $(USER_CFLAGS) $(filter %.c %.a,$^) -o $@ $(LIBS) $(DAEMON_LIBS) -lm
$(B)/bench_fleet: tests/bench/bench_fleet.c $(B)/libsluice.a
	$(CC) $(CFLAGS) $(USER_CFLAGS) $(filter %.c %.a,$^) -o $@ $(LIBS) $(DAEMON_LIBS) -lm
build-bench: $(B)/bench_packets $(B)/bench_fleet all tools
bench:
	scripts/run-bench
# TRACES is the directory of the Azure LLM inference traces. WIRE has further arguments of
# scripts/bench-wire.
NO_TRACES = $(error bench-wire needs TRACES=DIR, the directory of the Azure LLM inference traces)
bench-wire:
	scripts/bench-wire --traces $(or $(TRACES),$(NO_TRACES)) $(WIRE)
.PHONY: build-fuzz syntax-fuzz build-bench

# Checks the format of all C files; FIX=1 corrects it.
STYLED := $(sort $(wildcard bpf/*.[ch] include/sluice/*.h user/*.c user/*/*.[ch] tests/*/*.[ch]))
format:
	printf '%s\n' $(STYLED) | xargs -n 8 -P $$(nproc) \
		$(CLANG_FORMAT) $(if $(FIX),-i,--dry-run -Werror)
tidy: $(B)/sluice.skel.h
	scripts/check tidy

DOCDIR = $(PREFIX)/share/doc/sluice
MANDIR = $(PREFIX)/share/man
# The documents keep their paths, so that their links work.
DOCS := README.md LICENSE user/config/sluice.example.yaml user/control/PROTOCOL.md \
	scripts/sluiced-remote.conf scripts/sluiced-netns.conf scripts/Containerfile \
	tests/bench/goodput.svg $(wildcard scripts/kubernetes/*.yaml user/docs/*.md user/docs/*.png)
# The unit as a template: sluiced@NAME reads /etc/sluice/NAME.yaml, and has pins and a control
# socket of its own.
I_CONTROL := /run/sluice-%i/control.sock
INSTANCE := -e 's,^Description=.*,& (%i),' \
	-e 's,/sluice\.yaml$$,/%i.yaml --pin-dir /sys/fs/bpf/sluice-%i --control $(I_CONTROL),' \
	-e 's,sluicectl reload,sluicectl --control $(I_CONTROL) reload,' \
	-e 's,^RuntimeDirectory=sluice,&-%i,'
# install and uninstall leave an existing configuration alone.
install: all
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(UNITDIR) \
		$(DESTDIR)$(SYSCONFDIR)/sluice $(DESTDIR)$(DOCDIR)
	install -m 0755 $(B)/sluiced $(B)/sluicectl $(DESTDIR)$(SBINDIR)/
	install -m 0755 $(B)/sluice-sim scripts/sluice-report $(DESTDIR)$(PREFIX)/bin/
	sed -e 's,=[^ ]*/\(sluiced\|sluicectl\) ,=$(SBINDIR)/\1 ,' \
		-e 's,/etc/sluice/,$(SYSCONFDIR)/sluice/,' \
		scripts/sluiced.service >$(B)/sluiced.service
	sed $(INSTANCE) $(B)/sluiced.service >$(B)/sluiced@.service
	sed -e 's,=[^ ]*/sluicectl ,=$(SBINDIR)/sluicectl ,' \
		-e 's,/etc/sluice/,$(SYSCONFDIR)/sluice/,' \
		scripts/sluice-record.service >$(B)/sluice-record.service
	install -m 0644 $(B)/sluiced.service $(B)/sluiced@.service $(B)/sluice-record.service \
		scripts/sluice-record.timer $(DESTDIR)$(UNITDIR)/
	for page in $(notdir $(MAN_PAGES)); do \
		sed 's,/usr/local/,$(PREFIX)/,; s,/etc/sluice/,$(SYSCONFDIR)/sluice/,' \
			$(B)/man/$$page >$(B)/man/.page && \
		install -D -m 0644 $(B)/man/.page \
			$(DESTDIR)$(MANDIR)/man$${page##*.}/$$page || exit 1; done
	install -D -m 0644 $(B)/completion/bash $(DESTDIR)$(BASHDIR)/sluicectl
	ln -sf sluicectl $(DESTDIR)$(BASHDIR)/sluiced
	ln -sf sluicectl $(DESTDIR)$(BASHDIR)/sluice-sim
	install -D -m 0644 $(B)/completion/_sluice $(DESTDIR)$(ZSHDIR)/_sluice
	for doc in $(DOCS); do install -D -m 0644 $$doc $(DESTDIR)$(DOCDIR)/$$doc || exit 1; done
	[ -e $(DESTDIR)$(SYSCONFDIR)/sluice/sluice.yaml ] || \
		install -m 0644 scripts/sluice.yaml $(DESTDIR)$(SYSCONFDIR)/sluice/sluice.yaml

uninstall:
	rm -f $(DESTDIR)$(SBINDIR)/sluiced $(DESTDIR)$(SBINDIR)/sluicectl \
		$(DESTDIR)$(PREFIX)/bin/sluice-sim $(DESTDIR)$(PREFIX)/bin/sluice-report \
		$(DESTDIR)$(UNITDIR)/sluiced.service $(DESTDIR)$(UNITDIR)/sluiced@.service \
		$(DESTDIR)$(UNITDIR)/sluice-record.service \
		$(DESTDIR)$(UNITDIR)/sluice-record.timer \
		$(addprefix $(DESTDIR)$(BASHDIR)/,sluicectl sluiced sluice-sim) \
		$(DESTDIR)$(ZSHDIR)/_sluice \
		$(foreach page,$(notdir $(MAN_PAGES)),\
			$(DESTDIR)$(MANDIR)/man$(patsubst .%,%,$(suffix $(page)))/$(page))
	rm -rf $(DESTDIR)$(DOCDIR)
	@[ ! -e $(DESTDIR)$(SYSCONFDIR)/sluice ] || \
		echo 'not removed: $(DESTDIR)$(SYSCONFDIR)/sluice'

# A Debian package, built by debhelper.
deb:
	scripts/make-deb $(VERSION)
# The packages in roots of Debian's suites, under their systemd.
test-packages:
	scripts/test-packages $(SUITES)
.PHONY: deb test-packages

clean:
	rm -rf $(B)

# Not what is of others there: packages of npm, kernels, roots of Debian, a copy of this tree.
-include $(shell find $(B) \( -path $(B)/npm -o -path $(B)/kernels -o -path $(B)/roots \
	-o -path $(B)/deb \) -prune -o -name '*.d' -type f -print 2>/dev/null)
