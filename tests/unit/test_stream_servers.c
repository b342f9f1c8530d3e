/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Invariant 6, by servers and endpoints: the rows of user/docs/streams.md. Each row is a stream in
 * the form that the API's reference describes, event by event, with what each event is, and the
 * tokens that the whole costs if it states them. Every row is also cut in two at each byte and fed
 * through windows from one byte on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "feed.h"
#include "stream_reference.h"

/* STATES: no event, but what the whole says that it costs; without it each token counts. */
enum { NO, TOKEN, GUESS, FAILED, COMMENT, STATES };

struct part {
	int what;
	const char *bytes;
};

struct row {
	const char *server;
	__u8 kind;
	struct part parts[14];
};

#define DATA(json)        "data: " json "\n\n"
#define EVENT(name, json) "event: " name "\ndata: " json "\n\n"
#define LINE(json)        json "\n"
#define CHUNK(choice, rest)                                                                        \
	DATA("{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1764288000," \
	     "\"model\":\"m\",\"choices\":[" choice "]" rest "}")
#define DELTA(delta) CHOICE(delta, "null")
#define CHOICE(delta, reason)                                                                      \
	CHUNK("{\"index\":0,\"delta\":{" delta "},\"logprobs\":null,\"finish_reason\":" reason     \
	      "}",                                                                                 \
	      "")
#define USAGE(n)                                                                                   \
	CHUNK("", ",\"usage\":{\"prompt_tokens\":9,\"total_tokens\":99,\"completion_tokens\":" #n  \
		  ",\"completion_tokens_details\":{\"reasoning_tokens\":1}}")
#define DONE DATA("[DONE]")
#define OLLAMA(rest)                                                                               \
	LINE("{\"model\":\"m\",\"created_at\":\"2025-11-28T00:00:00.123456Z\"," rest "}")
#define RESPONSE(name, rest) EVENT(name, "{\"type\":\"" name "\",\"sequence_number\":7" rest "}")

static const struct row rows[] = {
	{"OpenAI chat",
	 STREAM_SSE,
	 {{NO, DELTA("\"role\":\"assistant\",\"content\":\"\",\"refusal\":null")},
	  {TOKEN, DELTA("\"content\":\"Hello\"")},
	  {TOKEN, DELTA("\"content\":\" \\\"error\\\": {\"")},
	  {NO, DELTA("\"content\":\"\"")},
	  {TOKEN, DELTA("\"content\":\"!\"")},
	  {NO, CHOICE("", "\"stop\"")},
	  {NO, USAGE(2)},
	  {NO, DONE},
	  {STATES, "2"}}},
	{"OpenAI chat, tools and refusal",
	 STREAM_SSE,
	 {{NO, DELTA("\"role\":\"assistant\",\"content\":null")},
	  {TOKEN, DELTA("\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\","
			"\"function\":{\"name\":\"weather\",\"arguments\":\"\"}}]")},
	  {TOKEN, DELTA("\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"\"}}]")},
	  {NO, DELTA("\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\"}}]")},
	  {NO, DELTA("\"tool_calls\":[]")},
	  {TOKEN, DELTA("\"refusal\":\"No\"")},
	  {NO, CHOICE("", "\"tool_calls\"")},
	  {NO, DONE}}},
	{"OpenAI chat, audio",
	 STREAM_SSE,
	 {{NO, DELTA("\"role\":\"assistant\",\"content\":null")},
	  {NO, DELTA("\"audio\":{\"id\":\"audio_1\",\"transcript\":\"\"}")},
	  {TOKEN, DELTA("\"audio\":{\"transcript\":\"Hi\"}")},
	  {TOKEN, DELTA("\"audio\":{\"data\":\"AAAA\"}")},
	  {NO, DELTA("\"audio\":{\"expires_at\":1764288000}")},
	  {NO, CHOICE("", "\"stop\"")},
	  {NO, DONE}}},
	{"OpenAI completions",
	 STREAM_SSE,
	 {{TOKEN,
	   CHUNK("{\"text\":\"Hello\",\"index\":0,\"logprobs\":null,\"finish_reason\":null}", "")},
	  {TOKEN, CHUNK("{\"text\":\"!\",\"index\":0,\"logprobs\":{\"tokens\":[\"!\"]},"
			"\"finish_reason\":null}",
			"")},
	  {NO,
	   CHUNK("{\"text\":\"\",\"index\":0,\"logprobs\":null,\"finish_reason\":\"stop\"}", "")},
	  {NO, USAGE(5)},
	  {NO, DONE},
	  {STATES, "5"}}},
	{"OpenAI responses, with tools of its own",
	 STREAM_SSE,
	 {{NO, RESPONSE("response.web_search_call.searching", ",\"item_id\":\"w\"")},
	  {NO, RESPONSE("response.code_interpreter_call.interpreting", ",\"item_id\":\"c\"")},
	  {NO, RESPONSE("response.image_generation_call.generating", ",\"item_id\":\"i\"")},
	  {TOKEN, RESPONSE("response.output_text.delta", ",\"delta\":\"a\"")}}},
	{"OpenAI responses",
	 STREAM_SSE,
	 {{NO, RESPONSE("response.created",
			",\"response\":{\"id\":\"r\",\"error\":null,\"output\":[]}")},
	  {NO, RESPONSE("response.queued", ",\"response\":{\"status\":\"queued\"}")},
	  {NO, RESPONSE("response.in_progress", ",\"response\":{\"output\":[]}")},
	  {NO, RESPONSE("response.output_item.added",
			",\"item\":{\"type\":\"message\",\"content\":[]}")},
	  {NO, RESPONSE("response.content_part.added",
			",\"part\":{\"type\":\"output_text\",\"text\":\"\"}")},
	  {TOKEN, RESPONSE("response.output_text.delta",
			   ",\"item_id\":\"m\",\"output_index\":0,\"content_index\":0,"
			   "\"delta\":\"Hello\",\"logprobs\":[],\"obfuscation\":\"x\"")},
	  {NO, RESPONSE("response.output_text.annotation.added",
			",\"annotation\":{\"type\":\"url_citation\",\"url\":\"http://a\"}")},
	  {NO, RESPONSE("response.output_text.done", ",\"text\":\"Hello\"")},
	  {NO, RESPONSE("response.content_part.done", ",\"part\":{\"text\":\"Hello\"}")},
	  {NO, RESPONSE("response.completed",
			",\"response\":{\"output\":[{\"content\":[{\"text\":\"Hello\"}]}],"
			"\"usage\":{\"input_tokens\":9,\"output_tokens\":5,"
			"\"output_tokens_details\":{\"reasoning_tokens\":1}},"
			"\"metadata\":{\"output_tokens\":\"1\"}}")},
	  {STATES, "5"}}},
	{"OpenAI responses, other output, without event lines",
	 STREAM_SSE,
	 {{NO, DATA("{\"type\":\"response.created\",\"response\":{\"id\":\"r\"}}")},
	  {TOKEN, DATA("{\"type\":\"response.reasoning_summary_text.delta\",\"delta\":\"Hm\"}")},
	  {NO, DATA("{\"type\":\"response.reasoning_summary_text.done\",\"text\":\"Hm\"}")},
	  {TOKEN, DATA("{\"type\":\"response.function_call_arguments.delta\",\"delta\":\"{\"}")},
	  {NO, DATA("{\"type\":\"response.function_call_arguments.done\",\"arguments\":\"{}\"}")},
	  {TOKEN, DATA("{\"type\":\"response.audio.delta\",\"delta\":\"AAAA\"}")},
	  {NO, DATA("{\"type\":\"response.image_generation_call.generating\"}")},
	  {TOKEN, DATA("{\"type\":\"response.image_generation_call.partial_image\","
		       "\"partial_image_index\":0,\"partial_image_b64\":\"AAAA\"}")},
	  {NO, DATA("{\"type\":\"response.output_item.done\",\"item\":{\"result\":\"AAAA\"}}")},
	  {NO, DATA("{\"type\":\"response.incomplete\",\"response\":{\"id\":\"r\",\"usage\":"
		    "{\"output_tokens\":77}}}")},
	  {STATES, "77"}}},
	{"OpenAI responses, failed",
	 STREAM_SSE,
	 {{NO, RESPONSE("response.created", ",\"response\":{}")},
	  {FAILED,
	   RESPONSE("response.failed", ",\"response\":{\"error\":{\"code\":\"server_error\"}}")}}},
	{"OpenAI responses, an error",
	 STREAM_SSE,
	 {{NO, DATA("{\"type\":\"response.created\",\"response\":{}}")},
	  {FAILED, DATA("{\"type\":\"error\",\"code\":\"x\",\"message\":\"Oops\"}")}}},
	{"OpenAI images",
	 STREAM_SSE,
	 {{TOKEN, EVENT("image_generation.partial_image",
			"{\"type\":\"image_generation.partial_image\",\"b64_json\":\"AAAA\"}")},
	  {TOKEN, EVENT("image_generation.completed",
			"{\"type\":\"image_generation.completed\",\"b64_json\":\"AAAA\","
			"\"usage\":{\"total_tokens\":100,\"output_tokens\":50}}")},
	  {STATES, "50"}}},
	{"OpenAI transcriptions and speech",
	 STREAM_SSE,
	 {{TOKEN, DATA("{\"type\":\"transcript.text.delta\",\"delta\":\"Hello\"}")},
	  {NO, DATA("{\"type\":\"transcript.text.done\",\"text\":\"Hello\"}")},
	  {TOKEN, DATA("{\"type\":\"speech.audio.delta\",\"audio\":\"AAAA\"}")},
	  {NO, DATA("{\"type\":\"speech.audio.done\",\"usage\":{\"total_tokens\":9,"
		    "\"output_tokens\":8}}")},
	  {STATES, "8"}}},
	{"Azure",
	 STREAM_SSE,
	 {{NO, DATA("{\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\","
		    "\"prompt_filter_results\":[{\"prompt_index\":0,\"text\":\"x\","
		    "\"content_filter_results\":{\"hate\":{\"severity\":\"safe\"}}}]}")},
	  {NO, DELTA("\"role\":\"assistant\",\"content\":\"\"")},
	  {TOKEN, DATA("{\"choices\":[{\"content_filter_results\":{\"hate\":{\"filtered\":false,"
		       "\"content\":\"safe\"}},\"delta\":{\"content\":\"Hello\"},\"index\":0}]}")},
	  {NO, DATA("{\"choices\":[{\"content_filter_offsets\":{\"check_offset\":44},"
		    "\"content_filter_results\":{\"hate\":{\"severity\":\"safe\"}},"
		    "\"finish_reason\":null,\"index\":0}]}")},
	  {NO, CHOICE("", "\"stop\"")},
	  {NO, USAGE(3)},
	  {NO, DONE},
	  {STATES, "3"}}},
	{"vLLM chat, reasoning",
	 STREAM_SSE,
	 {{NO, DELTA("\"role\":\"assistant\",\"content\":\"\"")},
	  {TOKEN, DELTA("\"reasoning_content\":\"Hm\"")},
	  {TOKEN, DELTA("\"reasoning\":\"Hm\"")},
	  {TOKEN, DELTA("\"content\":\"Hello\"")},
	  {NO, CHUNK("{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\","
		     "\"stop_reason\":\"END\",\"token_ids\":null}",
		     "")},
	  {NO, USAGE(6)},
	  {NO, DONE},
	  {STATES, "6"}}},
	{"vLLM chat, usage in each event",
	 STREAM_SSE,
	 {{NO,
	   CHUNK("{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}",
		 ",\"usage\":{\"prompt_tokens\":9,\"total_tokens\":9,\"completion_tokens\":0}")},
	  {TOKEN,
	   CHUNK("{\"index\":0,\"delta\":{\"content\":\"Hello\"},\"finish_reason\":null}",
		 ",\"usage\":{\"prompt_tokens\":9,\"total_tokens\":12,\"completion_tokens\":3}")},
	  {TOKEN,
	   CHUNK("{\"index\":0,\"delta\":{\"content\":\"!\"},\"finish_reason\":\"length\"}",
		 ",\"usage\":{\"prompt_tokens\":9,\"total_tokens\":14,\"completion_tokens\":5}")},
	  {NO, DONE},
	  {STATES, "5"}}},
	{"vLLM completions",
	 STREAM_SSE,
	 {{TOKEN, CHUNK("{\"index\":0,\"text\":\" Hello\",\"logprobs\":null,"
			"\"finish_reason\":null,\"stop_reason\":null}",
			",\"usage\":null")},
	  {NO, CHUNK("{\"index\":0,\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"stop\","
		     "\"stop_reason\":null}",
		     ",\"usage\":null")},
	  {NO, USAGE(2)},
	  {NO, DONE},
	  {STATES, "2"}}},
	{"SGLang chat",
	 STREAM_SSE,
	 {{NO, CHUNK("{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\","
		     "\"reasoning_content\":null,\"tool_calls\":null},\"logprobs\":null,"
		     "\"finish_reason\":null,\"matched_stop\":null}",
		     ",\"usage\":null")},
	  {TOKEN, CHUNK("{\"index\":0,\"delta\":{\"role\":null,\"content\":\"Hello\","
			"\"reasoning_content\":null,\"tool_calls\":null},\"matched_stop\":null}",
			",\"usage\":null")},
	  {NO, CHUNK("{\"index\":0,\"delta\":{\"role\":null,\"content\":null,"
		     "\"reasoning_content\":null,\"tool_calls\":null},"
		     "\"finish_reason\":\"stop\",\"matched_stop\":128009}",
		     ",\"usage\":null")},
	  {NO, USAGE(4)},
	  {NO, DONE},
	  {STATES, "4"}}},
	{"vLLM, an error",
	 STREAM_SSE,
	 {{NO, DELTA("\"role\":\"assistant\",\"content\":\"\"")},
	  {FAILED, DATA("{\"error\": {\"message\": \"EngineCore\", \"type\": "
			"\"InternalServerError\", \"param\": null, \"code\": 500}}")},
	  {NO, DONE}}},
	{"vLLM, an error after tokens",
	 STREAM_SSE,
	 {{TOKEN, DELTA("\"content\":\"Hello\"")},
	  {FAILED, DATA("{\"error\":{\"message\":\"x\"}}")},
	  {NO, DELTA("\"content\":\"Hello\"")},
	  {NO, DONE}}},
	{"vLLM, older, an error",
	 STREAM_SSE,
	 {{FAILED, DATA("{\"object\":\"error\",\"message\":\"x\",\"type\":\"BadRequestError\","
			"\"param\":null,\"code\":400}")},
	  {NO, DONE}}},
	{"SGLang generate",
	 STREAM_SSE,
	 {{TOKEN, DATA("{\"text\":\" Hello\",\"output_ids\":[1],\"meta_info\":{\"id\":\"a\","
		       "\"finish_reason\":null}}")},
	  {TOKEN, DATA("{\"text\":\" Hello!\",\"output_ids\":[1,2],\"meta_info\":{\"id\":\"a\","
		       "\"finish_reason\":{\"type\":\"length\"},\"prompt_tokens\":9,"
		       "\"completion_tokens\":3,\"cached_tokens\":0}}")},
	  {NO, DONE},
	  {STATES, "3"}}},
	{"SGLang, an error",
	 STREAM_SSE,
	 {{FAILED, DATA("{\"error\": {\"message\": \"The request is too long\"}}")}, {NO, DONE}}},
	{"llama.cpp chat, with progress",
	 STREAM_SSE,
	 {{NO,
	   CHUNK("{\"finish_reason\":null,\"index\":0,\"delta\":{\"role\":\"assistant\","
		 "\"content\":null}}",
		 ",\"prompt_progress\":{\"total\":9,\"cache\":0,\"processed\":4,\"time_ms\":1}")},
	  {NO,
	   CHUNK("{\"finish_reason\":null,\"index\":0,\"delta\":{}}",
		 ",\"prompt_progress\":{\"total\":9,\"cache\":0,\"processed\":9,\"time_ms\":2}")},
	  {TOKEN, DELTA("\"reasoning_content\":\"Hm\"")},
	  {TOKEN, DELTA("\"content\":\"Hello\"")},
	  {NO, CHUNK("{\"finish_reason\":\"stop\",\"index\":0,\"delta\":{}}",
		     ",\"timings\":{\"prompt_n\":9,\"prompt_ms\":1.5,\"predicted_n\":4,"
		     "\"predicted_ms\":7.25}")},
	  {NO, DONE},
	  {STATES, "4"}}},
	{"llama.cpp completion, with progress",
	 STREAM_SSE,
	 {{NO, DATA("{\"index\":0,\"content\":\"\",\"tokens\":[],\"stop\":false,\"id_slot\":0,"
		    "\"prompt_progress\":{\"total\":9,\"cache\":0,\"processed\":4}}")},
	  {TOKEN, DATA("{\"index\":0,\"content\":\" Hello\",\"tokens\":[9906],\"stop\":false,"
		       "\"id_slot\":0,\"tokens_predicted\":1}")},
	  {NO, DATA("{\"index\":0,\"content\":\"\",\"tokens\":[],\"id_slot\":0,\"stop\":true,"
		    "\"model\":\"m\",\"generation_settings\":{\"stop\":[\"x\"]},"
		    "\"tokens_predicted\":3,\"tokens_evaluated\":9,"
		    "\"prompt\":\"Say \\\"content\\\": hello\",\"stop_type\":\"limit\"}")},
	  {STATES, "3"}}},
	{"llama.cpp, an error",
	 STREAM_SSE,
	 {{FAILED, DATA("{\"error\":{\"code\":400,\"message\":\"the context is full\","
			"\"type\":\"exceed_context_size_error\"}}")}}},
	{"llama.cpp, older, an error",
	 STREAM_SSE,
	 {{FAILED, "error: {\"code\":400,\"message\":\"the context is full\"}\n\n"}}},
	{"Anthropic",
	 STREAM_SSE,
	 {{NO, EVENT("message_start",
		     "{\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"role\":\"assistant\","
		     "\"content\":[],\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}")},
	  {NO, EVENT("content_block_start",
		     "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":"
		     "{\"type\":\"thinking\",\"thinking\":\"\"}}")},
	  {NO, EVENT("ping", "{\"type\": \"ping\"}")},
	  {TOKEN,
	   EVENT("content_block_delta", "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
					"{\"type\":\"thinking_delta\",\"thinking\":\"Hm\"}}")},
	  {NO,
	   EVENT("content_block_delta", "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
					"{\"type\":\"signature_delta\",\"signature\":\"EqQB\"}}")},
	  {TOKEN,
	   EVENT("content_block_delta", "{\"type\":\"content_block_delta\",\"index\":1,\"delta\":"
					"{\"type\":\"text_delta\",\"text\":\"Hello\"}}")},
	  {TOKEN, EVENT("content_block_delta",
			"{\"type\":\"content_block_delta\",\"index\":2,\"delta\":"
			"{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\"}}")},
	  {NO,
	   EVENT("content_block_delta", "{\"type\":\"content_block_delta\",\"index\":2,\"delta\":"
					"{\"type\":\"input_json_delta\",\"partial_json\":\"\"}}")},
	  {NO, EVENT("content_block_stop", "{\"type\":\"content_block_stop\",\"index\":0}")},
	  {NO, EVENT("message_delta",
		     "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\","
		     "\"stop_sequence\":null},\"usage\":{\"output_tokens\":15}}")},
	  {NO, EVENT("message_stop", "{\"type\":\"message_stop\"}")},
	  {STATES, "15"}}},
	{"Anthropic, an error",
	 STREAM_SSE,
	 {{NO, EVENT("message_start", "{\"type\":\"message_start\",\"message\":{\"content\":[]}}")},
	  {FAILED, EVENT("error", "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
				  "\"message\":\"Overloaded\"}}")}}},
	{"Ollama chat",
	 STREAM_NDJSON,
	 {{TOKEN, OLLAMA("\"message\":{\"role\":\"assistant\",\"content\":\"\","
			 "\"thinking\":\"Hm\"},\"done\":false")},
	  {TOKEN, OLLAMA("\"message\":{\"role\":\"assistant\",\"content\":\"Hi\"},\"done\":false")},
	  {TOKEN, OLLAMA("\"message\":{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":"
			 "[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":1}}}]},"
			 "\"done\":false")},
	  {NO, OLLAMA("\"message\":{\"role\":\"assistant\",\"content\":\"\"},"
		      "\"done_reason\":\"stop\",\"done\":true,\"prompt_eval_count\":9,"
		      "\"eval_count\":8,\"eval_duration\":5")},
	  {STATES, "8"}}},
	{"Ollama generate",
	 STREAM_NDJSON,
	 {{TOKEN, OLLAMA("\"response\":\"\",\"thinking\":\"Hm\",\"done\":false")},
	  {TOKEN, OLLAMA("\"response\":\"Hi\",\"done\":false")},
	  {NO, OLLAMA("\"response\":\"\",\"done\":true,\"context\":[1,2,3],"
		      "\"prompt_eval_count\":9,\"eval_count\":3")},
	  {STATES, "3"}}},
	{"Ollama, text in the last line",
	 STREAM_NDJSON,
	 {{TOKEN, OLLAMA("\"message\":{\"role\":\"assistant\",\"content\":\"Hi\"},"
			 "\"done\":true,\"prompt_eval_count\":9,\"eval_count\":2")},
	  {STATES, "2"}}},
	{"Ollama, an error",
	 STREAM_NDJSON,
	 {{FAILED, LINE("{\"error\":\"model requires more system memory\"}")}}},
	{"TGI",
	 STREAM_SSE,
	 {{TOKEN, "data:{\"index\":1,\"token\":{\"id\":9906,\"text\":\"Hello\",\"logprob\":-0.1,"
		  "\"special\":false},\"generated_text\":null,\"details\":null}\n\n"},
	  {TOKEN, "data:{\"index\":2,\"token\":{\"id\":0,\"text\":\"!\",\"logprob\":-0.1,"
		  "\"special\":false},\"top_tokens\":[{\"text\":\"?\"}],"
		  "\"generated_text\":\"Hello!\",\"details\":{\"finish_reason\":"
		  "\"eos_token\",\"generated_tokens\":3,\"seed\":null}}\n\n"},
	  {STATES, "3"}}},
	{"TGI, an error",
	 STREAM_SSE,
	 {{FAILED, "data:{\"error\":\"Model is overloaded\",\"error_type\":\"overloaded\"}\n\n"}}},
	{"Triton generate",
	 STREAM_SSE,
	 {{TOKEN, DATA("{\"model_name\":\"m\",\"model_version\":\"1\",\"text_output\":\"Hello\"}")},
	  {NO, DATA("{\"model_name\":\"m\",\"model_version\":\"1\",\"text_output\":\"\"}")}}},
	{"Triton generate, an error",
	 STREAM_SSE,
	 {{FAILED, DATA("{\"error\":\"out of blocks\"}")}}},
	{"LM Studio",
	 STREAM_SSE,
	 {{NO, EVENT("chat.start", "{\"type\":\"chat.start\",\"model_instance_id\":\"m\"}")},
	  {NO, EVENT("prompt_processing.progress",
		     "{\"type\":\"prompt_processing.progress\",\"progress\":0.5}")},
	  {NO, EVENT("reasoning.start", "{\"type\":\"reasoning.start\"}")},
	  {TOKEN, EVENT("reasoning.delta", "{\"type\":\"reasoning.delta\",\"content\":\"Hm\"}")},
	  {NO, EVENT("reasoning.end", "{\"type\":\"reasoning.end\"}")},
	  {TOKEN, EVENT("tool_call.arguments", "{\"type\":\"tool_call.arguments\",\"tool\":\"f\","
					       "\"arguments\":{\"a\":\"b\"}}")},
	  {TOKEN, EVENT("message.delta", "{\"type\":\"message.delta\",\"content\":\"Hello\"}")},
	  {NO, EVENT("message.end", "{\"type\":\"message.end\"}")},
	  {NO, EVENT("chat.end",
		     "{\"type\":\"chat.end\",\"result\":{\"output\":[{\"content\":\"Hello\"}],"
		     "\"stats\":{\"input_tokens\":9,\"total_output_tokens\":6}}}")},
	  {STATES, "6"}}},
	{"LM Studio, an error",
	 STREAM_SSE,
	 {{NO, EVENT("chat.start", "{\"type\":\"chat.start\"}")},
	  {FAILED, EVENT("error", "{\"type\":\"error\",\"error\":{\"message\":\"x\"}}")}}},
	{"LangServe",
	 STREAM_SSE,
	 {{NO, EVENT("metadata", "{\"run_id\":\"a\"}")},
	  {TOKEN, EVENT("data", "\"Hello\"")},
	  {NO, EVENT("data", "\"\"")},
	  {TOKEN, EVENT("data", "{\"content\":\"Hello\",\"type\":\"AIMessageChunk\"}")},
	  {NO, EVENT("data", "{\"content\":\"\",\"type\":\"AIMessageChunk\",\"usage_metadata\":"
			     "{\"input_tokens\":9,\"output_tokens\":5,\"total_tokens\":14}}")},
	  {NO, "event: end\n\n"},
	  {STATES, "5"}}},
	{"LangServe, an error",
	 STREAM_SSE,
	 {{NO, EVENT("metadata", "{\"run_id\":\"a\"}")},
	  {FAILED, EVENT("error", "{\"status_code\": 500, \"message\": \"Internal\"}")}}},
	{"DeepSeek and others, with heartbeats",
	 STREAM_SSE,
	 {{COMMENT, ": keep-alive\n\n"},
	  {COMMENT, "\n\n"},
	  {NO, DELTA("\"role\":\"assistant\",\"content\":\"\",\"reasoning_content\":null")},
	  {COMMENT, ": keep-alive\n\n"},
	  {TOKEN, DELTA("\"content\":null,\"reasoning_content\":\"Hm\"")},
	  {COMMENT, ": keep-alive\n\n"},
	  {TOKEN, DELTA("\"content\":\"Hello\",\"reasoning_content\":null")},
	  {NO, CHUNK("{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\"}",
		     ",\"usage\":{\"completion_tokens\":3,\"total_tokens\":9}")},
	  {NO, DONE},
	  {STATES, "3"}}},
	{"Dynamo, an error",
	 STREAM_SSE,
	 {{TOKEN, DELTA("\"content\":\"a\"")},
	  {FAILED, "event: error\n: the worker has gone\n\n"},
	  {NO, DELTA("\"content\":\"b\"")}}},
	{"an error beside an empty choice",
	 STREAM_SSE,
	 {{FAILED, DATA("{\"id\":\"g\",\"error\":{\"code\":502},\"choices\":[{\"delta\":"
			"{\"content\":\"\"},\"finish_reason\":\"error\"}]}")}}},
	{"errors that are none",
	 STREAM_SSE,
	 {{TOKEN, DATA("{\"error\":null,\"choices\":[{\"delta\":{\"content\":\"a\"}}]}")},
	  {TOKEN, DATA("{\"error\":\"\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}")},
	  {TOKEN, DATA("{\"x\":{\"error\":{}},\"choices\":[{\"delta\":{\"content\":\"a\"}}]}")},
	  {NO, DATA("{\"choices\":[{\"delta\":{\"content\":\"\",\"error\":\"a\"}}]}")}}},
	{"an unknown format",
	 STREAM_SSE,
	 {{NO, DATA("{\"status\":\"processing\",\"progress\":0.1}")},
	  {NO, DATA("{\"type\":\"heartbeat\"}")},
	  {GUESS, DATA("{\"answer\":\"Hello\"}")},
	  {NO, DATA("{\"event\":\"ping\"}")},
	  {TOKEN, DATA("{\"answer\":\" there\"}")},
	  {TOKEN, DATA("plain text")}}},
	{"an unknown format, then a known one",
	 STREAM_SSE,
	 {{GUESS, DATA("{\"note\":\"Hello\"}")},
	  {TOKEN, DELTA("\"content\":\"Hello\"")},
	  {NO, DATA("{\"note\":\"Hello\"}")}}},
};

static void append(char *to, const char *what)
{
	if (*what && *to)
		strcat(to, " ");
	strcat(to, what);
}

/* Invariant 6. */
static void each_servers_output_is_what_counts_and_its_usage_what_it_costs(void **state)
{
	static const char *const marks[] = {[NO] = "event",
					    [TOKEN] = "event generated",
					    [GUESS] = "event generated guess",
					    [FAILED] = "event failed",
					    [COMMENT] = ""};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char bytes[8192] = "", want[512] = "", cost[32], *said, *whole;
		unsigned tokens = 0;

		for (const struct part *p = rows[i].parts; p->bytes; p++) {
			if (p->what == STATES) {
				tokens = atoi(p->bytes);
				continue;
			}
			strcat(bytes, p->bytes);
			append(want, marks[p->what]);
			tokens += p->what == TOKEN || p->what == GUESS;
		}
		said = feed_every_way(FEED_STREAM, rows[i].kind, bytes, strlen(bytes));
		if (strcmp(said, want))
			print_error("%s\n", rows[i].server);
		assert_string_equal(said, want);
		assert_true(stream_reference_agrees(rows[i].kind, bytes, strlen(bytes)));
		snprintf(cost, sizeof(cost), "tokens=%u", tokens);
		append(want, cost);
		whole = feed_every_way(FEED_STREAM, rows[i].kind | FEED_USAGE, bytes,
				       strlen(bytes));
		if (strcmp(whole, want))
			print_error("%s\n", rows[i].server);
		assert_string_equal(whole, want);
		free(whole);
		free(said);
	}
}

/*
 * Invariant 6: what sluice remembers of the last event does not change the next one. Every two
 * events of all rows follow each other, the first of them twice, so that it is remembered.
 */
static void an_event_counts_alike_after_any_other(void **state)
{
	const struct part *all[512];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (const struct part *p = rows[i].parts; p->bytes; p++)
			if (rows[i].kind == STREAM_SSE && p->what != STATES)
				all[n++] = p;
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < n; k++) {
			char bytes[4096] = "", *whole, *pieces;

			for (int again = 0; again < 3; again++)
				strcat(bytes, all[i]->bytes);
			strcat(bytes, all[k]->bytes);
			whole = feed_cut(FEED_STREAM, STREAM_SSE | FEED_USAGE, bytes, strlen(bytes),
					 0, SCAN_BUF, 0);
			pieces = feed_cut(FEED_STREAM, STREAM_SSE | FEED_USAGE, bytes,
					  strlen(bytes), 0, 1, 0);
			assert_string_equal(whole, pieces);
			free(whole);
			free(pieces);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_servers_output_is_what_counts_and_its_usage_what_it_costs),
		cmocka_unit_test(an_event_counts_alike_after_any_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
