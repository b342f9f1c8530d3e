/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The events by name. Scripts depend on the names: one may be added, none is renamed. */
#include "log/log.h"

#define MOST       60  /* lines a minute of an event … */
#define AUDIT_MOST 600 /* … and of what operators do */

static const struct log_kind kinds[LOG_EVENTS] = {
	[EVENT_READY] = {"ready", LOG_LEVEL_INFO, MOST},
	[EVENT_UNPINNED] = {"unpinned", LOG_LEVEL_WARNING, MOST},
	[EVENT_STOPPED] = {"stopped", LOG_LEVEL_INFO, MOST},
	[EVENT_START_FAILED] = {"start-failed", LOG_LEVEL_ERROR, MOST},
	[EVENT_LOOP_FAILED] = {"loop-failed", LOG_LEVEL_ERROR, MOST},
	[EVENT_DETACH_BEGAN] = {"detach-began", LOG_LEVEL_INFO, MOST},
	[EVENT_DETACHED] = {"detached", LOG_LEVEL_INFO, MOST},
	[EVENT_DETACH_FAILED] = {"detach-failed", LOG_LEVEL_ERROR, MOST},
	[EVENT_CONFIG_READ] = {"config-read", LOG_LEVEL_INFO, MOST},
	[EVENT_CONFIG_REFUSED] = {"config-refused", LOG_LEVEL_ERROR, MOST},
	[EVENT_CONFIG_NOTE] = {"config-note", LOG_LEVEL_WARNING, MOST},
	[EVENT_POLICY_FAILED] = {"policy-failed", LOG_LEVEL_ERROR, MOST},
	[EVENT_MODEL_SHUT] = {"model-shut", LOG_LEVEL_WARNING, MOST},
	[EVENT_MODEL_OPENED] = {"model-opened", LOG_LEVEL_INFO, MOST},
	[EVENT_CEILING_FELL] = {"ceiling-fell", LOG_LEVEL_WARNING, MOST},
	[EVENT_CEILING_ROSE] = {"ceiling-rose", LOG_LEVEL_INFO, MOST},
	[EVENT_FLAG_FAILED] = {"flag-failed", LOG_LEVEL_ERROR, MOST},
	[EVENT_NAMES_FORGOTTEN] = {"names-forgotten", LOG_LEVEL_INFO, MOST},
	[EVENT_NAMES_FAILED] = {"names-failed", LOG_LEVEL_ERROR, MOST},
	[EVENT_DRAIN_BEGAN] = {"drain-began", LOG_LEVEL_INFO, MOST},
	[EVENT_DRAIN_ENDED] = {"drain-ended", LOG_LEVEL_INFO, MOST},
	[EVENT_LEASE_FAILED] = {"lease-failed", LOG_LEVEL_ERROR, MOST},
	[EVENT_LEASE_ENDED] = {"lease-ended", LOG_LEVEL_WARNING, MOST},
	[EVENT_LEASE_RENEWED] = {"lease-renewed", LOG_LEVEL_INFO, MOST},
	[EVENT_INTERFACE_ATTACHED] = {"interface-attached", LOG_LEVEL_INFO, MOST},
	[EVENT_INTERFACE_FAILED] = {"interface-failed", LOG_LEVEL_ERROR, MOST},
	[EVENT_INTERFACE_GONE] = {"interface-gone", LOG_LEVEL_WARNING, MOST},
	[EVENT_INTERFACE_DETACHED] = {"interface-detached", LOG_LEVEL_INFO, MOST},
	[EVENT_INTERFACE_TURNED] = {"interface-turned", LOG_LEVEL_INFO, MOST},
	[EVENT_ATTACHMENT_DISTURBED] = {"attachment-disturbed", LOG_LEVEL_WARNING, MOST},
	[EVENT_ATTACHMENT_RESTORED] = {"attachment-restored", LOG_LEVEL_WARNING, MOST},
	[EVENT_NETNS_FAILED] = {"netns-failed", LOG_LEVEL_WARNING, MOST},
	[EVENT_PINS_MISSING] = {"pins-missing", LOG_LEVEL_WARNING, MOST},
	[EVENT_PINS_RESTORED] = {"pins-restored", LOG_LEVEL_WARNING, MOST},
	[EVENT_MAPS_ADOPTED] = {"maps-adopted", LOG_LEVEL_INFO, MOST},
	[EVENT_MAPS_CARRIED] = {"maps-carried", LOG_LEVEL_INFO, MOST},
	[EVENT_MAPS_REPLACED] = {"maps-replaced", LOG_LEVEL_WARNING, MOST},
	[EVENT_TROUBLE_BEGAN] = {"trouble-began", LOG_LEVEL_WARNING, MOST},
	[EVENT_TROUBLE_ENDED] = {"trouble-ended", LOG_LEVEL_INFO, MOST},
	[EVENT_SOCKETS_FAILED] = {"sockets-failed", LOG_LEVEL_WARNING, MOST},
	[EVENT_ADDRESSES_FAILED] = {"addresses-failed", LOG_LEVEL_ERROR, MOST},
	[EVENT_DESCRIPTORS_EXHAUSTED] = {"descriptors-exhausted", LOG_LEVEL_WARNING, MOST},
	[EVENT_HASH_SECRET] = {"hash-secret", LOG_LEVEL_WARNING, MOST},
	[EVENT_KEYS_DROPPED] = {"keys-dropped", LOG_LEVEL_WARNING, MOST},
	[EVENT_FLEET_STORE_BACK] = {"fleet-store-back", LOG_LEVEL_INFO, MOST},
	[EVENT_FLEET_STORE_AWAY] = {"fleet-store-away", LOG_LEVEL_WARNING, MOST},
	[EVENT_FLEET_STORE_EVICTS] = {"fleet-store-evicts", LOG_LEVEL_WARNING, MOST},
	[EVENT_FLEET_NAME_TAKEN] = {"fleet-name-taken", LOG_LEVEL_WARNING, MOST},
	[EVENT_FLEET_FAILED] = {"fleet-failed", LOG_LEVEL_ERROR, MOST},
	[EVENT_FLEET_RULES] = {"fleet-rules", LOG_LEVEL_INFO, MOST},
	[EVENT_FLEET_RULES_FAILED] = {"fleet-rules-failed", LOG_LEVEL_WARNING, MOST},
	[EVENT_AUDIT] = {"audit", LOG_LEVEL_INFO, AUDIT_MOST},
	[EVENT_LEFT_OUT] = {"left-out", LOG_LEVEL_WARNING, 0},
	[EVENT_LINES_LOST] = {"lines-lost", LOG_LEVEL_WARNING, 0},
};

const struct log_kind *log_kind_of(enum log_event event)
{
	return &kinds[event];
}
