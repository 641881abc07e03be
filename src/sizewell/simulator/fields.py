"""The fields of the records a simulation keeps: of sequences, blocks, batches, engines and the clock."""

from __future__ import annotations

import numpy as np

SEQUENCE = np.dtype(
    [
        ("computed", np.int64),  # tokens whose keys and values are, or are being, computed
        ("generated", np.int64),  # output tokens known to the scheduler
        ("input_tokens", np.int64),
        ("output_tokens", np.int64),
        ("last_s", np.float64),
        ("placeholders", np.int32),  # output tokens scheduled and not yet known (async scheduling)
        ("in_flight", np.int32),  # tokens in batches that have not come back
        ("padding", np.int32),  # drafts that a step computes for want of known ones; none is accepted
        ("slot", np.int32),
        ("engine", np.int32),
        ("place", np.int32),  # UNSENT, WAITING…
        ("think_tokens", np.int64),
        ("junction", np.int64),  # tokens of the prompt another has been seen to share beyond the cached prefix
        ("cached", np.int64),  # prompt tokens found in the prefix cache when first admitted
        ("preemptions", np.int64),
        ("moving", np.int64),  # blocks to be moved here before the sequence can run
        ("scheduled_s", np.float64),
        ("sent_s", np.float64),
        ("first_s", np.float64),
        ("first_answer_s", np.float64),
        ("before", np.int64),  # neighbours in the waiting queue
        ("behind", np.int64),
    ],
    align=True,
)

REQUEST = np.dtype(
    [
        ("arrival_s", np.float64),
        ("after", np.int64),
        ("priority", np.int64),
        ("session", np.int64),
        ("think_id", np.int64),
        ("output_id", np.int64),
        ("admissible", np.int64),
        ("pinned_blocks", np.int64),  # stay for good once they are filled
        ("private_from", np.int64),  # first block whose content nobody else can name
        ("silent", np.int64),  # it will not be served: the gaps between its tokens are not counted
    ],
    align=True,
)

BLOCK = np.dtype(
    [
        ("key", np.int64),
        ("users", np.int32),
        ("previous", np.int32),
        ("next", np.int32),
        ("ends_node", np.int32),  # SGLang: the last block of a node of its radix tree, which is evicted whole
    ],
    align=True,
)

PLACE = np.dtype([("key", np.int64), ("block", np.int64)], align=True)

GROUP = np.dtype([("kind", np.int64), ("span_tokens", np.int64), ("most_blocks", np.int64)], align=True)

SLOT = np.dtype(
    [
        ("keyed", np.int64),  # full blocks already offered to the prefix cache
        ("key_block", np.int64),  # how many blocks the key below covers
        ("key", np.int64),  # chained key of the last of them, and where its content ended
        ("segment", np.int64),
        ("segment_from", np.int64),
    ],
    align=True,
)

ENTRY = np.dtype([("request", np.int64), ("tokens", np.int32), ("emits", np.int32)], align=True)

BATCH = np.dtype(
    [
        ("entries", np.int64),
        ("tokens", np.int64),
        ("emitting", np.int64),
        ("beginning", np.int64),  # sequences whose prompt came computed and that compute its last token
        ("prompts", np.int64),  # SGLang: it computes prompts, not tokens of running sequences
        ("decode_sequences", np.float64),
        ("decode_context_tokens", np.float64),
        ("prefill_tokens", np.float64),
        ("prefill_sequences", np.float64),
        ("prefill_context_tokens", np.float64),
        ("prefill_pairs", np.float64),
        ("load_s", np.float64),  # to bring cache back from host memory
        ("roster", np.int64),  # the running list it was made from, if every sequence of it decodes here; else NONE
        ("start_s", np.float64),
        ("end_s", np.float64),
    ],
    align=True,
)

ENGINE = np.dtype(
    [
        ("index", np.int64),
        ("free", np.int64),
        ("running", np.int64),
        ("waiting", np.int64),
        ("first", np.int64),  # ends of the waiting queue
        ("last", np.int64),
        ("spare", np.int64),  # slots nobody holds
        ("oldest", np.int64),  # ring of batches in flight
        ("in_flight", np.int64),
        ("roster", np.int64),  # counts every change of the running list
        ("blocked", np.int64),  # OPEN, NO_SEAT, NO_ROOM
        ("skip", np.int64),  # identical steps planned to be jumped over
        ("holds", np.int64),  # prompts wait for the other ranks in this step; of the first rank, for how many steps now
        ("deaf", np.int64),  # SGLang: steps since it last looked for requests, and waiting ones it knows of
        ("heard", np.int64),
        ("amid", np.int64),  # SGLang: the sequence admitted last is computed in part
        ("full", np.int64),  # SGLang: nobody is admitted until a running sequence has gone
        ("room", np.float64),  # SGLang, while prompts are chosen: tokens nobody holds or is expected to use
        ("unheld", np.int64),  # tokens nobody holds
        ("budget", np.int64),  # tokens still to be computed in the step
        ("ordered", np.int64),  # SGLang: sequences in the order of what they have left to generate
        ("looks", np.int64),  # SGLang: at the waiting queue, so far
        ("busy_s", np.float64),  # when the accelerators can start the next batch
        ("end_s", np.float64),  # when the batch formed last ends
        ("wake_s", np.float64),  # when the scheduler next gets to act
        ("ratio", np.float64),  # SGLang: the share of their remaining output that running sequences are expected to use
        ("hit_blocks", np.int64),  # result of the last search of the prefix cache, with the key it ends on
        ("hit_key", np.int64),
        ("hit_segment", np.int64),
        ("hit_segment_from", np.int64),
        ("adopted", np.int64),  # SGLang: blocks of a sequence up to the last that others had filled meanwhile
        ("below", np.int64),  # the free block below that one in the same node, or the null block
        ("hit_on_host", np.int64),  # blocks behind them found in host memory
        ("ended", np.int64),
        ("asked", np.int64),  # prompts admitted whose cache is to be fetched
        ("moved", np.int64),  # prompts whose cache has come
        ("outstanding", np.int64),
        ("outstanding_tokens", np.int64),
        ("preemptions", np.int64),
        ("tokens", np.int64),  # generated so far
        ("steps", np.int64),
    ],
    align=True,
)

RULES = np.dtype(
    [
        ("max_num_seqs", np.int64),
        ("max_num_batched_tokens", np.int64),
        ("max_model_len_tokens", np.int64),
        ("block_tokens", np.int64),
        ("long_prefill_tokens", np.int64),
        ("long_prefill_alone", np.int64),  # the threshold holds for a request that is alone, too (before 0.30)
        ("chunked_prefill", np.int64),
        ("reserve_prompt", np.int64),
        ("prefix_caching", np.int64),
        ("unhashed_first", np.int64),
        ("async_scheduling", np.int64),
        ("depth", np.int64),  # batches in flight
        ("stages", np.int64),
        ("ranks", np.int64),
        ("receive_steps", np.int64),  # SGLang: decoding steps between two looks for requests
        ("balance_steps", np.int64),  # most steps that prompts wait until every rank has one
        ("drafts", np.int64),
        ("lookahead_tokens", np.int64),  # a sequence holds blocks for, beyond those of the step
        ("drop_last_hit", np.int64),  # a drafter of its own layers needs the last cached block computed again
        ("pads_drafts", np.int64),
        ("watermark_blocks", np.int64),  # stay free at an admission beside others
        ("sparse_windows", np.int64),
        ("windows_wait", np.int64),
        ("policy", np.int64),
        ("windowed", np.int64),  # some group is not FULL
        ("counted", np.int64),  # blocks are counted and not told apart: no content of one is ever looked for
        ("usable_blocks", np.int64),
        ("jumps", np.int64),
        ("router", np.int64),
        ("scheduler", np.int64),
        ("ratio_start", np.float64),  # SGLang: the expected share of outputs, to which it falls, and by how much a step
        ("ratio_least", np.float64),
        ("ratio_decay", np.float64),
        ("fixed_lengths", np.int64),  # SGLang: outputs are known to be as long as was asked for
        ("expects_fixed_whole", np.int64),  # SGLang: such outputs are expected whole
        ("touches_waiting", np.int64),
        ("pool_tokens", np.int64),  # SGLang's pool of single tokens, whatever blocks hold them; else 0
        ("host_blocks", np.int64),  # blocks kept in host memory, and the seconds to bring a token's cache back
        ("host_token_s", np.float64),
        ("hands_over", np.int64),  # a prefill pool: what ends keeps its seat and blocks until they have been moved
        ("takes_over", np.int64),  # a decode pool: prompts come computed but for the last token
        ("logged", np.int64),
        ("silences", np.int64),  # some request is silent
    ],
    align=True,
)

CLOCK = np.dtype(
    [
        ("now_s", np.float64),
        ("horizon_s", np.float64),
        ("next_starter", np.int64),
        ("due", np.int64),  # entries of the agenda
        ("order", np.int64),
        ("closed", np.int64),  # a closed loop sends the next request when one has ended
        ("users", np.int64),  # of a closed loop that has not started yet
        ("events", np.int64),  # after which the caller gets a chance to stop
        ("think_s", np.float64),
        ("request_s", np.float64),  # goes by before a request reaches the scheduler
        ("turn", np.int64),  # whose it is, going round; else requests given to replicas so far
        ("logged", np.int64),  # lines of the log in use
        ("lost", np.int64),  # counted blocks were lost that will be looked for: this play ends
        ("gap_s", np.float64),  # last gap recorded and its bin
        ("gap_bin", np.int64),
        ("sampled", np.int64),  # samples of the timeline in use
        ("sample_every_s", np.float64),
        ("next_sample_s", np.float64),
    ],
    align=True,
)

DUE = np.dtype([("time_s", np.float64), ("order", np.int64), ("request", np.int64)], align=True)

NETWORK = np.dtype(
    [
        ("latency_s", np.float64),
        ("send_block_s", np.float64),  # for which a block occupies the line of the engine that sends it
        ("receive_block_s", np.float64),
        ("prompts", np.int64),  # moved or under way, and their blocks
        ("blocks", np.int64),
        ("waited_s", np.float64),  # in line, all together
        ("travelled_s", np.float64),
    ],
    align=True,
)

MOVE = np.dtype([("asked_s", np.float64), ("left_s", np.float64), ("came_s", np.float64)], align=True)

LINE = np.dtype([("free_s", np.float64), ("busy_s", np.float64)], align=True)

HOME = np.dtype([("content", np.int64), ("replicas", np.int64)], align=True)

STANDING = np.dtype([("value", np.float64), ("turn", np.int64), ("contestant", np.int64)], align=True)

GAP = np.dtype([("count", np.int64), ("total_s", np.float64)], align=True)

SAMPLE = np.dtype(
    [
        ("time_s", np.float64),
        ("running", np.int64),
        ("waiting", np.int64),
        ("free", np.int64),
        ("preemptions", np.int64),  # so far
        ("tokens", np.int64),  # generated so far
    ],
    align=True,
)

RECORD = np.dtype(
    [
        ("step", np.int64),
        ("engine", np.int64),
        ("time_s", np.float64),
        ("what", np.int64),
        ("request", np.int64),
        ("tokens", np.int64),
        ("free", np.int64),
    ],
    align=True,
)
