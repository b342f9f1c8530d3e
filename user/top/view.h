/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The screen of `sluicectl top` as rows of text of a given width, without a terminal: the state and
 * the rates, the models, the clients, the help.
 */
#ifndef SLUICE_TOP_VIEW_H
#define SLUICE_TOP_VIEW_H

#include "top/data.h"

#define VIEW_COLUMNS_MAX 512
#define VIEW_ROW_MAX     (VIEW_COLUMNS_MAX * 4 + 1) /* bytes */

enum row_style { ROW_PLAIN, ROW_HEADING, ROW_ALERT, ROW_FAINT };

struct row {
	char *text;
	enum row_style style;
};

struct rows {
	struct row *row;
	unsigned count;
};

enum model_order { MODELS_LISTED, MODELS_IN_FLIGHT, MODELS_TTFT, MODELS_ITL, MODEL_ORDERS };

extern const char *const view_model_orders[MODEL_ORDERS]; /* as the screen names them */

struct view {
	const struct top_data *data;
	unsigned columns;   /* at most VIEW_COLUMNS_MAX */
	const char *filter; /* names that contain it; "": all */
	const char *by;     /* order of clients, for the heading */
	enum model_order order;
};

/* Each makes the rows anew; the heading comes first. */
void view_state(const struct view *v, struct rows *out);
void view_models(const struct view *v, struct rows *out);
void view_clients(const struct view *v, struct rows *out);
void view_help(const struct view *v, struct rows *out);
void view_free(struct rows *rows);

#endif
