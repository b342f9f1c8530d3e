/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The map `ports`: a bit for each port that some service has. Kept connections of a service that is
 * gone have to be translated until they end, so their ports stay as long.
 */
#include <string.h>

#include "kept.h"
#include "map_io.h"
#include "ports.h"

static int write_ports(struct datapath *d, const uint64_t bits[PORT_WORDS], bool keep_old)
{
	const struct bpf_map *map = d->skel->maps.ports;

	for (uint32_t word = 0; word < PORT_WORDS; word++) {
		uint64_t old, new;
		int err;

		datapath_step(d, 1);
		err = map_read(map, &word, &old);

		new = keep_old ? old | bits[word] : bits[word];
		if (!err && new != old)
			err = map_write(map, &word, &new);
		if (err)
			return err;
	}
	return 0;
}

int ports_add(struct datapath *d, const uint64_t bits[PORT_WORDS])
{
	return write_ports(d, bits, true);
}

int ports_settle(struct datapath *d)
{
	uint64_t bits[PORT_WORDS];
	int err;

	memcpy(bits, d->service_ports, sizeof(bits));
	err = kept_ports(d, bits, &d->ports_linger);
	return err ? err : write_ports(d, bits, false);
}
