/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Decides what is wrong with the traffic of a service: nobody listens, packets pass unseen, their
 * bytes cannot be read, or many clients look like one. Each kind of trouble is a condition that one
 * look at the service has or lacks. It becomes a trouble once it has held for long enough, and ends
 * once it has not held for long enough, so that a start, an idle port and a stray packet are none.
 */
#ifndef SLUICE_TROUBLE_H
#define SLUICE_TROUBLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>

enum trouble_kind {
	TROUBLE_NOT_LISTENING,                              /* no socket listens on the port */
	TROUBLE_NO_SERVER,                                  /* its server is found nowhere */
	TROUBLE_UNSEEN,                                     /* no packet of the service comes by */
	TROUBLE_PARTLY_UNSEEN,                              /* … or none of some connections */
	TROUBLE_OTHER_ADDRESS,                              /* its server has more addresses */
	TROUBLE_REQUESTS_UNSEEN,                            /* only responses come by */
	TROUBLE_RESPONSES_UNSEEN,                           /* only requests do */
	TROUBLE_LAST_OF_SOCKETS = TROUBLE_RESPONSES_UNSEEN, /* sockets show those up to here */
	TROUBLE_OPAQUE,                                     /* TLS or HTTP/2 on an http service */
	TROUBLE_FRAMING,    /* connections whose requests or responses cannot be read */
	TROUBLE_ONE_CLIENT, /* nearly all requests come from one address */
	TROUBLE_RELAYED,    /* a proxy on this host sends each request once more */
	TROUBLE_MODELS,     /* several models that nobody configured are busy at once */
	TROUBLE_TWICE,      /* another sluice judges the same requests */
	TROUBLE_KINDS
};

#define TROUBLE_TEXT_MAX 320 /* bytes of a sentence, with its zero */

/* What one look found at a service. */
struct trouble_look {
	bool own;                  /* its address is this host's */
	bool nowhere;              /* … nor known to be in another network namespace */
	bool past;                 /* it is, by an interface that has no end on this host */
	bool answered;             /* there ever was a sample or a refusal */
	bool listening;            /* a socket listens there */
	unsigned active;           /* sockets whose connection had data lately; of these … */
	unsigned unseen;           /* … sluice saw no packet, … */
	unsigned unseen_here;      /* … though its client is on this host, … */
	unsigned ended;            /* … (likewise, of sockets that have ended since, … */
	unsigned ended_here;       /* … which may explain it), … */
	unsigned requests_unseen;  /* … no packet of the client, */
	unsigned responses_unseen; /* … or none of the server */
	unsigned other_address;    /* further ones, to addresses of its server without a service */
	bool other_there;          /* its server has such an address in another network namespace */
	unsigned opaque;           /* TLS or HTTP/2 on an http service */
	unsigned unread;           /* connections given up as unreadable */
	bool sampled;              /* there was a sample or a refusal lately */
	unsigned busy_models;      /* that nobody configured, with requests in flight at once */
	bool judged_twice;         /* another sluice has judged a request, too */
	uint64_t requests, of_one; /* all, and those of one address, if they were enough; … */
	uint64_t local, passed;    /* … those by lo, and the admitted ones of others */
	uint8_t unseen_client[16]; /* of one that is not seen as it should */
	uint8_t one_client[16];
	uint8_t other_server[16]; /* an address of other_address or other_there */
};

/* The numbers of a sentence, as the last look had them. */
struct trouble_facts {
	uint64_t n, of;
	uint8_t addr[16];
};

struct trouble {
	uint64_t since_ns; /* when the condition began to hold; 0: it does not */
	uint64_t held_ns;  /* when it held last */
	bool on;
	struct trouble_facts facts;
};

enum trouble_change { TROUBLE_SAME, TROUBLE_BEGINS, TROUBLE_ENDS };

/* The name of a kind, for metrics and JSON. */
const char *trouble_name(enum trouble_kind kind);
/* False: sluice sees the traffic, and only advises. */
bool trouble_is_blind(enum trouble_kind kind);
/* Whether one look has the condition of a kind; fills *facts if so. */
bool trouble_holds(enum trouble_kind kind, const struct trouble_look *look,
		   struct trouble_facts *facts);
/* Takes the result of a look at now_ns. after_ns: the setting `trouble-after-secs`. */
enum trouble_change trouble_step(struct trouble *t, enum trouble_kind kind, bool holds,
				 const struct trouble_facts *facts, uint64_t now_ns,
				 uint64_t after_ns);
/* A sentence for the operator; `service` as text_endpoint() writes it. */
void trouble_text(char out[TROUBLE_TEXT_MAX], enum trouble_kind kind, const char *service,
		  const struct trouble_facts *facts);

struct trouble_listener {
	uint64_t gone_ns; /* nobody listens since then; 0: somebody does */
	bool elsewhere;   /* … but somebody answers */
};

/*
 * Clients that are answered long after the last listening socket has gone have a server elsewhere:
 * behind an address translation, as that of a published container port. Then the address of the
 * look is not this host's own, and its server is found nowhere. answered_ns: the service's last
 * sample.
 */
void trouble_find_listener(struct trouble_listener *l, struct trouble_look *look,
			   uint64_t answered_ns, uint64_t now_ns, uint64_t after_ns);

#define TROUBLE_REQUESTS_MIN 1000 /* of a service, before one client can have nearly all */

/*
 * Finds the address with most requests of a service in constant memory: a majority vote (Boyer and
 * Moore, 1981) names a candidate, and the requests that follow show whether it has nearly all. Its
 * bytes may all be zero at first.
 */
struct trouble_share {
	struct sluice_client candidate, judged; /* of the vote, and of the vote before */
	uint64_t votes, requests, of_judged;
	uint64_t local, passed; /* as in struct trouble_look */
	uint64_t since_ns;
};

void trouble_request(struct trouble_share *share, const struct sluice_client *client,
		     bool admitted);
/*
 * Ends a count that has TROUBLE_REQUESTS_MIN requests, and fills the look; or one that has not
 * reached them in five times after_ns. Else it goes on, and nothing is filled.
 */
void trouble_count(struct trouble_share *share, struct trouble_look *look, uint64_t now_ns,
		   uint64_t after_ns);

#endif
