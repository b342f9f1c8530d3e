/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ADDR:PORT as an operator writes it. An IPv6 address with a port needs brackets, since "::1:80"
 * has two readings. Names are not looked up.
 */
#ifndef SLUICE_CONFIG_ENDPOINT_H
#define SLUICE_CONFIG_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ADDR:PORT, [ADDR]:PORT, or PORT alone, in which case addr is "". -EINVAL: neither. */
int endpoint_split(const char *text, char *addr, size_t addr_len, uint16_t *port);
/* A numeric IPv4 or IPv6 address as 16 bytes, IPv4 mapped. -EINVAL: neither. */
int endpoint_address(const char *text, uint8_t out[16]);
/* 0.0.0.0 or :: */
bool endpoint_is_any(const uint8_t addr[16]);

#endif
