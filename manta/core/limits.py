"""Every bound of the system, in one place (S3 of docs/invariants.md). Units come last in the names."""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# names, objects and uploads (S3's own limits)
KEY_MAX_BYTES: Final = 1024
BUCKET_MIN_CHARS: Final = 3
BUCKET_MAX_CHARS: Final = 63
BUCKETS_PER_ACCOUNT: Final = 1000
BUCKETS_PAGE_MAX: Final = 10_000
OBJECT_MAX_BYTES: Final = 5 * 1024 * GIB
PUT_MAX_BYTES: Final = 5 * GIB
PART_MIN_BYTES: Final = 5 * MIB
PART_MAX_BYTES: Final = 5 * GIB
PARTS_MAX: Final = 10_000
METADATA_MAX_BYTES: Final = 2 * KIB
USER_HEADERS_MAX_BYTES: Final = 8 * KIB
LIST_PAGE_MAX: Final = 1000
DELETE_BATCH_MAX: Final = 1000
POLICY_MAX_BYTES: Final = 20 * KIB
"""A bucket policy, as S3 has it."""
POLICY_STATEMENTS_MAX: Final = 64

# connections and requests
CONNECTIONS_MAX: Final = 4096
FILES_PER_CONNECTION: Final = 3
"""What a connection may hold open beside itself: another socket, a file."""
TLS_HANDSHAKE_S: Final = 20.0
"""From the connection's first packet to the end of its handshake."""
HEADERS_DEADLINE_S: Final = 20.0
REQUEST_LINE_MAX_BYTES: Final = 16 * KIB
HEADER_MAX_BYTES: Final = 16 * KIB
HEADERS_MAX: Final = 128
BODY_IDLE_TIMEOUT_S: Final = 60.0
BODY_GATHER_S: Final = 5.0
"""A block of a slow sender's body is passed on after this, whole or not."""
READER_PROGRESS_S: Final = 120.0
READER_PROGRESS_BYTES: Final = 4 * KIB
"""A client that takes less than this in READER_PROGRESS_S is cut off; a slow one that goes on may take for ever."""
KEEPALIVE_S: Final = 75.0
LINGER_S: Final = 5.0
"""How long the rest of a refused body is read away, so that the client gets to see its reply."""
DRAIN_S: Final = 60.0
DRAIN_IDLE_S: Final = 3.0
"""While draining, an idle connection is closed only after this much silence."""
TUNNEL_BYTES: Final = 64 * KIB
"""Bytes that an upgraded connection keeps each way."""
REPLY_QUIET_S: Final = 10.0
"""A reply that takes longer than this to become known is kept alive by blanks meanwhile."""
LONG_WORKS_MAX: Final = 1024
"""Copies and completions under way in one gateway, whether or not their clients still wait for them."""

# what requests carry
XML_MAX_BYTES: Final = 2 * MIB
XML_ELEMENTS_MAX: Final = 100_000
"""A CompleteMultipartUpload of PARTS_MAX parts has up to eight elements for each."""
XML_DEPTH_MAX: Final = 16
COMPLETE_XML_MAX_BYTES: Final = 4 * MIB
"""A CompleteMultipartUpload may name PARTS_MAX parts with a checksum each."""
JSON_MAX_BYTES: Final = 1 * MIB
CHUNK_HEADER_MAX_BYTES: Final = 512
CHUNK_MAX_BYTES: Final = 64 * MIB
TRAILER_MAX_BYTES: Final = 4 * KIB
TRAILERS_MAX: Final = 8
DECODE_INLINE_BYTES: Final = 64 * KIB
"""Pieces of a signed body from this size on are hashed in a thread."""

# signatures, accounts and keys
CLOCK_SKEW_S: Final = 15 * 60
PRESIGN_MAX_S: Final = 7 * 24 * 3600
SIGNED_HEADERS_MAX: Final = 128
SIGNING_KEYS_MAX: Final = 4096
KEYS_PER_ACCOUNT: Final = 100
CREDENTIALS_CACHE_S: Final = 1.0
CREDENTIALS_CACHE_MAX: Final = 10_000

# bytes of objects on their way
BLOCK_BYTES: Final = MIB
"""A blob's CRC-32C is kept per block of this size."""
SMALL_BLOB_BYTES: Final = 256 * KIB
"""Blobs up to this size travel whole, many in one message, and become durable in the node's journal."""
STREAM_CHUNK_BYTES: Final = 256 * KIB
READ_WHOLE_BYTES: Final = 64 * KIB
"""Up to this much of an object is read at once and sent in one write with its head."""
HASH_INLINE_BYTES: Final = 64 * KIB
"""Bodies up to this size are hashed on the event loop: a thread hop costs more."""
HASH_BATCH_BYTES: Final = 512 * KIB
"""How much of a body gathers before a thread is sent for."""
RING_BYTES: Final = 8 * BLOCK_BYTES
"""Memory of one large body on its way in, shared with the nodes of the same machine."""
RING_KEPT_BYTES: Final = 4 * BLOCK_BYTES
"""How far hashing, and each node, may lag behind a body that comes through a ring."""
RING_MIN_BYTES: Final = 4 * MIB
"""Bodies from this size on get a ring."""
RINGS_MAX: Final = 64
"""Rings of one process; while all are in use, further bodies are copied through sockets."""
HASH_BEHIND_BYTES: Final = RING_KEPT_BYTES
"""How far hashing may lag behind a stream before the stream waits."""
DIRECT_MIN_BYTES: Final = 16 * MIB
"""Blobs from this size on are written past the page cache: the kernel's copy, and the memory for it, cost more than
the disk. Whoever reads such a blob first reads it from the disk."""
DIRECT_SLOT_MIN_BYTES: Final = 4 * MIB
"""The same for parts: their object is larger than they are."""
FIRST_PART_WAITS_S: Final = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
"""How long a part waits for part 1 of its upload, which fixes the size of the slots, before it goes without."""

# a node's volume
RESERVE_FRACTION: Final = 0.02
RESERVE_MIN_BYTES: Final = 64 * MIB
"""A volume refuses writes below max(fraction of its size, this), but never more than half of its size."""
JOURNAL_SEGMENT_BYTES: Final = 16 * MIB
JOURNAL_SEGMENTS_MAX: Final = 8
"""A node's journal of small blobs has this many segments at most; on a small volume they are smaller."""
JOURNAL_VOLUME_FRACTION: Final = 1 / 256
"""A segment's largest share of the volume."""
LISTING_MAX_AGE_S: Final = 300.0
"""A node's listing of its blobs is read anew after this."""
QUARANTINE_MAX_FILES: Final = 10_000
SCRUB_PERIOD_S: Final = 14 * 24 * 3600.0
"""Every stored block is checked at least this often; a check is trusted as long while the file is unchanged."""
VERIFIED_FILES_MAX: Final = 65_536
"""Files of which a process remembers that it checked them."""

# gateways and their nodes
NODE_CONNECTIONS_MAX: Final = 256
"""Connections one process keeps to one node."""
NODE_MESSAGE_MAX_BYTES: Final = 64 * MIB
BATCH_MAX_BYTES: Final = 4 * MIB
BATCH_MAX_BLOBS: Final = 256
"""Small blobs sent to a node in one message."""
NODE_TOKEN_TTL_S: Final = 300.0
ASSEMBLY_TOKEN_TTL_S: Final = 2 * 3600.0
"""A peer may read a blob for as long as the longest assembly from it takes."""
NODE_TIMEOUT_S: Final = 30.0
NODE_PROBE_INTERVAL_S: Final = 1.0
NODE_DEAD_AFTER_S: Final = 3.0
NODE_REFRESH_S: Final = 2.0
"""How often a gateway asks the catalog which nodes are registered."""
ERRANDS_MAX: Final = 256
"""Calls to nodes that nobody waits for (useless copies to delete, damaged ones to verify), under way at once."""

# garbage, and what crashes leave
ORPHAN_GRACE_S: Final = 24 * 3600.0
"""A blob file without a catalog row lives this long; a commit refuses a blob older than half of it. So half of it
is the longest that one body or one assembly may take. Only a crash leaves such files: what is refused goes at once."""
GARBAGE_DELAY_S: Final = 60.0
"""A replaced blob's files stay this long, for readers that are in the middle of them."""
GARBAGE_BATCH: Final = 500
GARBAGE_INTERVAL_S: Final = 5.0
SWEEP_BATCH: Final = 1000
SWEEP_INTERVAL_S: Final = 600.0
SWEEP_PAUSE_S: Final = 0.05
"""Between two batches of a sweep, so that it never crowds out requests."""
UPLOAD_EXPIRY_S: Final = 7 * 24 * 3600.0
"""An open multipart upload older than this is aborted."""
COMPLETED_UPLOAD_KEEP_S: Final = 24 * 3600.0
"""How long a repeated CompleteMultipartUpload gets the first one's answer (C5)."""
EXPIRY_INTERVAL_S: Final = 900.0

# the catalog
CATALOG_QUEUE_MAX: Final = 16_384
CATALOG_BATCH_MAX: Final = 256
POSTGRES_CONNECTIONS: Final = 16
POSTGRES_LOCK_TIMEOUT_S: Final = 5.0
POSTGRES_STATEMENT_TIMEOUT_S: Final = 30.0
POSTGRES_RETRIES: Final = 10
"""A transaction that lost against another one (40001, deadlock) or found its connection dead is tried this often."""

# logs and evidence (promise O2)
ACCESS_LOG_MAX_BYTES: Final = 64 * MIB
ACCESS_LOG_FILES: Final = 4
ACCESS_LOG_FIELD_MAX_CHARS: Final = 4096
"""Of a path or a query: the longest key, percent-encoded, fits."""
ACCESS_LOG_BUFFER_MAX: Final = 20_000
"""Lines that wait for the log's thread; what comes beyond is counted, not kept."""
CHILD_LOG_MAX_BYTES: Final = 4 * MIB
"""What a child of `manta serve` says; of each, the files before it too."""
CHILD_LOG_FILES: Final = 3
LOG_SILENCE_S: Final = 60.0
"""A process does not log the same again before that."""
LOG_REPEATS_REMEMBERED_MAX: Final = 256
EVIDENCE_FILES_MAX: Final = 64
EVIDENCE_TAIL_BYTES: Final = 64 * KIB
"""Of the log of a child that died, kept in its post-mortem."""

# what a job may ask for
JOB_DOCUMENT_MAX_BYTES: Final = 256 * KIB
PHASES_MAX: Final = 64
REDUCERS_MAX: Final = 1024
REDUCER_NUMBER_MAX: Final = (1 << 31) - 1
"""What a program may write an output for, and the catalog keeps; a phase has REDUCERS_MAX at most."""
EXEC_MAX_BYTES: Final = 64 * KIB
PROGRAM_MAX_BYTES: Final = 128 * KIB
"""A packed function, compressed, with what it closes over; larger data belong into an object."""
PROGRAM_NAME_MAX_CHARS: Final = 128
ASSETS_MAX: Final = 64
ASSET_MAX_BYTES: Final = 2 * GIB
GLOB_MAX_CHARS: Final = 1024
"""A longer one fits no key but through its sets, and takes memory with the square of its length."""
WHERE_METADATA_MAX: Final = 16
"""Names of user metadata that one input asks for."""
SPLIT_MIN_BYTES: Final = 64 * KIB
"""The smallest `split` of a map phase."""
SPLIT_RANGES_MAX: Final = 4096
"""Ranges of one object; of one that would have more, each is larger."""
BATCH_INPUTS_MAX: Final = 256
"""The largest `batch` of a map phase; a report never has more inputs than this either."""
BATCH_INPUT_MAX_BYTES: Final = MIB
"""A larger input has a task of its own."""
BATCH_MAX_INPUT_BYTES: Final = 64 * MIB
"""Of the inputs of one task together."""
JOB_INPUTS_MAX_BYTES: Final = 16 * MIB
"""One `POST /jobs/{id}/inputs`."""
IDEMPOTENCY_KEY_MAX_CHARS: Final = 255
TASK_MEMORY_DEFAULT_BYTES: Final = 256 * MIB
TASK_MEMORY_MIN_BYTES: Final = 4 * MIB
TASK_MEMORY_MAX_BYTES: Final = 64 * GIB
TASK_SCRATCH_DEFAULT_BYTES: Final = 128 * MIB
TASK_SCRATCH_MAX_BYTES: Final = 64 * GIB
TASK_SCRATCH_OF_MEMORY: Final = 3 / 4
"""Of a task's memory its scratch has so much at most: it is memory too, and a full scratch is to be no OOM."""
TASK_CPUS_MIN: Final = 0.01
TASK_CPUS_MAX: Final = 256.0
TASK_TIMEOUT_DEFAULT_S: Final = 600.0
TASK_TIMEOUT_MAX_S: Final = 7 * 24 * 3600.0

# jobs in the catalog
RESOLVE_PAGE: Final = 1000
TASK_WINDOW: Final = 10_000
"""Numbers of tasks that one read of the catalog looks through for those in a certain state."""
BATCH_ROWS: Final = 64
"""Tasks that are in memory at a time, where each may have BATCH_INPUTS_MAX inputs with their names."""
INLINE_OUTPUT_BYTES: Final = 512
"""What goes to a reducer and is no larger than this is kept in the catalog: a blob's row and file would take more."""
CLONE_CHUNKS_PAGE: Final = 16
"""Lists of inputs, of RESOLVE_PAGE each, that are copied to a clone at a time."""
EARLIER_ATTEMPTS_MAX: Final = 32
"""Attempts without a commit that a task's row remembers, the latest ones, about 80 bytes each. They go with the row."""
TASK_COUNTER_MAX: Final = 1 << 50
"""What a node may report of one task (bytes read, seconds): beyond it a sum would not fit the catalog."""
BYTE_SECONDS_MAX: Final = 1 << 62
"""Where a job's sum of memory and time stays: what the catalog's numbers can hold."""
FAILURE_MESSAGE_MAX_CHARS: Final = 4096
DAY_S: Final = 24 * 3600.0
JOB_EXPIRY_S: Final = 30 * DAY_S
"""Unless configured otherwise."""
USAGE_KEEP_DAYS: Final = 400
"""How long it is known what an account used on a day."""

# who asks about jobs
JOB_PAGE_LINES: Final = 1000
JOB_PAGE_LINES_MAX: Final = 10_000
JOB_DOCUMENT_INPUTS: Final = 100
"""Inputs shown with a job's document; `GET /jobs/{id}/inputs` has all that were found."""
JOB_WAIT_MAX_S: Final = 60.0
"""The longest `GET /jobs/{id}?wait=`."""
EXPLAIN_LOOKS_MAX: Final = 1_000_000
"""Objects that an explanation of a job looks at: few of them may be inputs."""
EXPLAIN_INPUTS_MAX: Final = 100_000
"""Inputs that an explanation of a job looks up."""
EXPLAINS_MAX: Final = 8
"""Explanations that one gateway works on side by side: each request of others waits for a page of each of them."""
EXPLAINS_ACCOUNT_MAX: Final = 4
"""Of these, explanations for one account."""
EVENT_STREAMS_MAX: Final = 256
"""Streams of jobs' events that one gateway serves side by side."""
EVENT_STREAMS_ACCOUNT_MAX: Final = 64
"""Of these, streams of one account: it must not use up what all have."""
EVENT_STREAM_S: Final = 3600.0
"""The longest stream of events, or of stderr: a client that wants more goes on from where it was."""
EVENT_SILENCE_S: Final = 15.0
"""A stream of events says at least this often that it lives."""
FEEDS_MAX: Final = 16
"""Jobs whose stderr is followed on one node at a time."""
FEEDS_ACCOUNT_MAX: Final = 4
"""Of these, jobs of one account."""
FEED_BYTES: Final = 1 * MIB
"""What a node holds of a followed job's stderr for those who follow it."""
FEED_IDLE_S: Final = 90.0
"""A feed that nobody asks for is forgotten after this: who follows waits a minute for a gateway that is away, and is
told nothing twice then."""
FEED_QUIET_S: Final = 3.0
"""Or after this, if another job is to be followed and there is no place: who follows asks more often."""
FEED_WAIT_S: Final = 1.0
"""How long a node waits for news of a followed job before it answers with none."""
RECENT_STDERR_MAX: Final = 256
"""Ended tasks of a node that said something, with which a feed begins."""

# leases and attempts
LEASE_S: Final = 15.0
LEASE_POLL_S: Final = LEASE_S / 2
"""The longest that a node's poll waits: it hears from every gateway well within a lease, so that the loss of the one
that gave it tasks does not make it end them; nor does it what it is granted at the end of a poll, since it counts
leases from when it asked."""
HEARTBEAT_S: Final = 1.0
"""A busy agent renews its leases, and hears of those it lost, this often (J6)."""
LEASE_BATCH_MAX: Final = 64
REPORT_BATCH_MAX: Final = 256
HELD_MAX: Final = 16 * LEASE_BATCH_MAX
"""Attempts, or phases, that a node may name in one poll."""
TAKEOVER_S: Final = LEASE_S * 4 / 3
"""A node that only another gateway hears of is dead when the catalog has shown no sign of it for this long: its row is
written when a third of a lease has gone."""
TASK_GRACE_S: Final = 30.0
"""A node that has not ended a task this long after the task's timeout never will: the attempt is taken away."""
STUCK_S: Final = 1800.0
"""How long outputs may be on their way after their task ended, and an attempt may wait in its node beyond the longest
timeout there: longer, and the attempt is taken away."""
INFRASTRUCTURE_RETRIES: Final = 2
LOST_LEASES_MAX: Final = 10
"""A task whose node is lost while it runs is tried again this often: it may be what brings the nodes down."""
OUTPUT_BIRTH_SLACK_S: Final = 60.0
"""How far the clocks of two gateways may be apart, of which one makes blob ids for outputs and one takes the report."""
HOLDER_WAIT_S: Final = 600.0
"""A task waits this long for a living node that holds its input, then fails with InternalError."""
REDUCER_PATIENCE_S: Final = 3.0
"""A reducer is kept this long for the node where most of its input lies; then any node may take it."""
STRAGGLER_MIN_S: Final = 10.0
STRAGGLER_FACTOR: Final = 4.0
STRAGGLER_SAMPLE_MIN: Final = 5
"""A task that runs for longer than this, and this many times the median of at least so many ended tasks of its phase,
gets a second attempt on another node with a copy and a lane that is idle. The first of the two to commit wins."""
STRAGGLER_SAMPLE_MAX: Final = 101
"""Ended tasks of a phase whose times a gateway remembers."""
STRAGGLER_PHASES_MAX: Final = 256
SECOND_ATTEMPTS_MIN: Final = 4
SECOND_ATTEMPTS_FRACTION: Final = 0.05
"""A job has at most so many second attempts, and this share of its ended tasks more."""
SECOND_ATTEMPT_AGAIN_S: Final = 10.0
"""A node that could not give a straggler its second attempt is asked again after this."""

# the scheduler's turns
SWEEP_S: Final = 1.0
"""How often the scheduler looks for what no wake-up told it."""
TENDING_MAX: Final = 4
"""Jobs whose pages of work (resolving, cancelling, cleaning) one gateway runs side by side."""
TENDED_MAX: Final = 256
"""Jobs that wait in one gateway for their page of work; the others wait in the catalog."""
EXPIRY_PAGES: Final = 10
"""Pages, of RESOLVE_PAGE tasks each, of a dead node's queue that a round looks at."""
FAIR_ACCOUNTS_MAX: Final = 1024
"""Accounts with ready tasks for a node that are looked at when its lanes are shared out."""
FAIR_JOBS_MAX: Final = 32
"""Jobs of one account that are looked at then, the oldest first."""
LEFT_PAGE: Final = 128
LEFT_PAGES: Final = 8
"""How often a poll looks for that many further tasks of a job, where those that it found are left to other nodes."""
FAIR_IDLE_MAX: Final = 16
"""Accounts whose jobs are looked at for the lane in reserve, the least busy first."""

# a task in its zone
TASK_PIDS_MAX: Final = 256
TASK_OPEN_FILES_MAX: Final = 1024
TASK_OUTPUT_MAX_BYTES: Final = 64 * GIB
"""Of all outputs of a task together."""
TASK_OUTPUT_DISK_FRACTION: Final = 1 / 4
"""They may also have at most this share of what their node's disk has left beside them, above its reserve; less where
many tasks run side by side."""
TASK_OUTPUTS_MAX: Final = 10_000
REPORT_OUTPUTS_MAX: Final = TASK_OUTPUTS_MAX
"""Of all results of one report, which is one transaction. The inputs of a batch that would go beyond it leave the
batch, and have each a task of its own."""
PATH_COMPONENT_MAX_BYTES: Final = 255
"""Of a file's name, on Linux."""
INIT_TIMEOUT_S: Final = 60.0
KILL_GRACE_S: Final = 4.0
"""A task that its zone has not ended so long after it was told to is ended with the zone (J6)."""
ZONE_OVERHEAD_BYTES: Final = 64 * MIB
"""What a zone's fork server may use beside its tasks' memory."""
STDERR_KEEP_BYTES: Final = 64 * KIB
STDERR_IN_ERROR_BYTES: Final = 4 * KIB
PROGRAM_CONNECTIONS_MAX: Final = 128
"""Programs of one task that speak to the agent at a time; so many ways `msplit` splits."""
PROGRAM_NAMES_MAX: Final = 256
"""Objects that one call of an agent to a gateway names."""
PROGRAM_KEPT_BYTES: Final = 4 * MIB
"""Small outputs of one task that wait in memory for its end; beyond it they go to the volume at once."""
PROGRAM_SLOTS_MAX: Final = 32
"""Places for further outputs that an agent asks for ahead."""

# images
IMAGE_ARCHIVE_MAX_BYTES: Final = 4 * GIB
IMAGE_MAX_BYTES: Final = 16 * GIB
"""Of the files in all layers of an image, unpacked."""
IMAGE_ENTRIES_MAX: Final = 500_000
IMAGE_CONFIG_MAX_BYTES: Final = 256 * KIB
IMAGE_ENV_MAX_BYTES: Final = 32 * KIB
IMAGE_UNPACK_MEMORY_BYTES: Final = 512 * MIB
IMAGE_UNPACK_S: Final = 900.0
IMAGE_UNPACKS_MAX: Final = 4
"""Images that a node unpacks at a time: their memory is not counted with the tasks'."""
IMAGE_ACCOUNT_UNPACKS_MAX: Final = 2
"""Of these, images of one account."""

# the agent's lanes and zones
PREFETCH_S: Final = 0.5
"""An agent holds about this much work beyond its running tasks, so that no lane waits for a lease."""
PLANS_REMEMBERED_MAX: Final = 128
"""Plans of jobs that a gateway keeps as read; the largest has JOB_DOCUMENT_MAX_BYTES."""
PHASES_REMEMBERED_MAX: Final = 32
"""Phases that an agent remembers; a task of one it forgot is not accepted, and comes again with its phase."""
WAITING_MAX: Final = 128
"""Tasks that an agent holds beyond the running ones, whatever they wait for."""
HAND_BACK_S: Final = 2.0
"""A task that waits longer for a lane is handed back: another node may have one."""
HAND_BACK_NO_ROOM_S: Final = 0.25
"""Tasks of a phase that finds no room for longer are handed back, though there are lanes."""
HANDED_BACK_S: Final = 5.0
"""For so long after that no more tasks of their job are welcome, unless there is room for one."""
RECALL_S: Final = 0.5
"""What has waited longer than that is recalled if it lacks room where it waits, and another node could begin it."""
RECALL_AGAIN_S: Final = 5.0
STARVED_S: Final = 1.0
"""After this a phase that has nothing running, and no room to, keeps others from starting until it has."""
FINISHING_MAX: Final = 64
"""Ended tasks whose outputs are being stored; more than these hold the lanes."""
INPUTS_AHEAD: Final = 8
"""Small remote inputs of a reducer that are fetched ahead."""
REPORT_DELAY_S: Final = 0.25
"""Results wait at most this long for their neighbours, while the lanes and their own jobs have other tasks here."""
STOPPED_TOLD_S: Final = LEASE_S
"""A job that is deleted while it runs is kept so long for its nodes to tell what the stopped attempts used. They tell
it once what was being stored of their outputs has run out."""
REPORT_AT_ONCE_S: Final = 0.15
"""The result of a task that took as long waits for none, since it has few neighbours."""
REPORT_PAUSE_S: Final = 0.05
"""From one report to the next, where nothing but such results makes it due: with many lanes they come all the time."""
ZONES_IDLE_MAX: Final = 8
ZONE_IDLE_S: Final = 30.0
ZONE_BUILDS_MAX: Final = 8
ZONE_SLOW_BUILDS_MAX: Final = 32
"""Zones being built at a time, with those that take longer than ZONE_SLOW_S."""
ZONE_ACCOUNT_BUILDS_MAX: Final = 24
"""Of these, zones of one account: its long inits must not keep the others' tasks from starting."""
ZONE_SLOW_S: Final = 0.5
"""A first zone that takes longer to build (a long init) does not keep the node from taking other tasks."""
ZONE_RETRY_S: Final = 5.0
"""After a zone could not be built, its phase's tasks are refused this long before it is tried again."""

# what an agent keeps
STDERR_TOTAL_MAX_BYTES: Final = 512 * MIB
"""What a node keeps of its tasks' stderr, all jobs together; the oldest jobs' goes first."""
STDERR_ASK_S: Final = 600.0
"""How often a node asks which of the jobs whose stderr it keeps are gone."""
JOBS_ASKED_MAX: Final = 1000
"""Jobs that a node asks for in one call."""
STDERR_DISK_FRACTION: Final = 1 / 32
"""It has this share of the node's disk at most."""
OBJECT_CACHE_MAX_BYTES: Final = 8 * GIB
"""What a node keeps of assets and archives of images, beside its volume; the longest unused goes first."""
IMAGE_CACHE_MAX_BYTES: Final = 32 * GIB
"""What a node keeps of unpacked images; the longest unused goes first."""
IMAGES_REMEMBERED_MAX: Final = 1024
"""Archives whose digest, or whose fault, a node remembers."""
CACHE_DISK_FRACTION: Final = 1 / 8
"""A node's caches each have this share of its disk at most."""
CACHE_YIELD_FRACTION: Final = 1 / 64
"""While a disk has less than this share of it left above its reserve, its caches give up what nobody uses."""
CACHE_LOOK_S: Final = 5.0
CACHE_ACCOUNT_FRACTION: Final = 1 / 2
"""What the tasks and sessions of one account use of a cache at a time is at most this share of it,"""
CACHE_LEFT_FACTOR: Final = 3
"""and at most so many times what nobody uses: there is room for the next account."""
CACHE_PATIENCE_S: Final = 45.0
"""How long a zone waits for room in its account's share of a cache: longer than idle zones keep theirs."""
CACHE_RETRY_S: Final = 3.0
"""How often it looks."""

# login sessions
LOGIN_SESSIONS_MAX: Final = 16
"""Sessions on one node; they have no lane."""
LOGIN_ACCOUNT_SESSIONS_MAX: Final = 4
"""Of one account, on one node."""
LOGIN_GATEWAY_SESSIONS_MAX: Final = 256
"""Sessions that one gateway passes on."""
LOGIN_MEMORY_FRACTION: Final = 0.25
"""How much of a node's memory its sessions may promise together: the rest is for tasks."""
LOGIN_CPUS: Final = 1.0
LOGIN_NONCES_MAX: Final = 20_000
"""Sessions that a node is asked for within NODE_TOKEN_TTL_S: so long it knows each again."""
LOGIN_ACCOUNT_NONCES_MAX: Final = 500
"""By one account: it may run out of its own, and leaves the others theirs."""
LOGIN_OBJECTS_MAX: Final = 64
"""Objects of one reduce session."""
LOGIN_TIMEOUT_DEFAULT_S: Final = 3600.0
LOGIN_TIMEOUT_MAX_S: Final = 12 * 3600.0
"""Below half of ORPHAN_GRACE_S: copies of inputs that a session fetched are swept after that, if its node dies."""
LOGIN_IDLE_S: Final = 30 * 60.0
"""A session with neither input nor output for so long is ended."""
LOGIN_PING_S: Final = 20.0
LOGIN_SILENCE_S: Final = 90.0
"""A client that answers no ping for so long is gone; the node, for the client, too."""
LOGIN_OPEN_S: Final = 60.0
"""Until a session's shell runs: its inputs are checked, or fetched, before."""
LOGIN_CHARGE_S: Final = 60.0
"""A session's cost is written this often, and at its end: a gateway that is killed forgets no more of it."""
LOGIN_MESSAGE_MAX_BYTES: Final = 64 * KIB
"""One message of a client."""
LOGIN_SPEC_MAX_BYTES: Final = 256 * KIB
"""What a gateway tells a node of a session: LOGIN_OBJECTS_MAX keys of the longest kind, and where they lie."""
