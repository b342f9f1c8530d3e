/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Small values of the store's client: random numbers, and texts that may be secrets. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "fleet/internal.h"

uint64_t store_random(void)
{
	uint64_t number = 0;

	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number))
		number = (uint64_t)random() << 31 ^ (uint64_t)random();
	return number;
}

char *store_copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

void store_wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}
