#include "pool.h"

#include <signal.h>

#include <climits>
#include <new>

// Tests compile the other way on Linux too.
#if defined(__linux__) && !defined(NEXTWORD_WITHOUT_FUTEX)
#define NEXTWORD_HAS_FUTEX 1
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// Turns of an empty loop before a thread sleeps: about 30 microseconds, longer than the pauses
// between the jobs of one step and much shorter than a step of the engine.
constexpr int SPINS = 1500;

inline void pause_briefly() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static_assert(sizeof(std::atomic<uint32_t>) == 4, "the kernel waits on the word itself");

#if defined(NEXTWORD_HAS_FUTEX)
void sleep_while(std::atomic<uint32_t> &word, uint32_t value) {
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}
void wake_all(std::atomic<uint32_t> &word) {
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}
#else
// One pair for all words: who is woken for another word looks at its own and sleeps again.
pthread_mutex_t words_mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t words_changed = PTHREAD_COND_INITIALIZER;

void sleep_while(std::atomic<uint32_t> &word, uint32_t value) {
    pthread_mutex_lock(&words_mutex);
    // Who changes a word takes the mutex afterwards, so no change falls between look and sleep.
    if (word.load() == value) pthread_cond_wait(&words_changed, &words_mutex);
    pthread_mutex_unlock(&words_mutex);
}
void wake_all(std::atomic<uint32_t> &) {
    pthread_mutex_lock(&words_mutex);
    pthread_cond_broadcast(&words_changed);
    pthread_mutex_unlock(&words_mutex);
}
#endif

}  // namespace

nextword_pool *nextword_pool::create(int num_threads) {
    nextword_pool *pool = new (std::nothrow) nextword_pool;
    if (pool == nullptr) return nullptr;
    pool->helpers = new (std::nothrow) pthread_t[num_threads];
    // Signals are the business of the threads that were there before.
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    for (int helper = 1; pool->helpers != nullptr && helper < num_threads; helper++) {
        if (pthread_create(&pool->helpers[helper - 1], nullptr, helper_main, pool) != 0) break;
        pool->num_helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pool->num_threads = pool->num_helpers + 1;
    if (pool->num_threads == num_threads) return pool;
    delete pool;
    return nullptr;
}

nextword_pool::~nextword_pool() {
    is_closing = true;
    job_word.fetch_add(1);
    wake_all(job_word);
    for (int helper = 0; helper < num_helpers; helper++) pthread_join(helpers[helper], nullptr);
    delete[] helpers;
}

void *nextword_pool::helper_main(void *pool) {
    static_cast<nextword_pool *>(pool)->help();
    return nullptr;
}

void nextword_pool::help() {
    uint32_t seen = 0;
    while (!is_closing.load()) {
        const uint32_t job = job_word.load();
        if (job == seen) {
            wait_for_job(seen);
        } else {
            work(job);
            seen = job;
        }
    }
}

// Take pieces of a job until none is left; whether this thread finished its last one.
bool nextword_pool::work(uint32_t job) {
    bool is_last = false;
    uint64_t word = untaken.load(std::memory_order_acquire);
    while (uint32_t(word >> 32) == job && uint32_t(word) != 0) {
        if (!untaken.compare_exchange_weak(word, word - 1, std::memory_order_acq_rel)) continue;
        const uint32_t num_pieces = num_pieces_of_job;
        piece_function(piece_context, int(num_pieces - uint32_t(word)));
        // Sequentially consistent with is_caller_asleep: one of the two sees the other.
        is_last = num_done.fetch_add(1) + 1 == num_pieces;
        if (is_last && is_caller_asleep.load() != 0) wake_all(num_done);
        word = untaken.load(std::memory_order_acquire);
    }
    return is_last;
}

void nextword_pool::wait_for_job(uint32_t seen) {
    for (int spin = 0; spin < SPINS; spin++) {
        if (job_word.load(std::memory_order_relaxed) != seen) return;
        pause_briefly();
    }
    num_asleep.fetch_add(1);
    while (job_word.load() == seen) sleep_while(job_word, seen);
    num_asleep.fetch_sub(1);
}

void nextword_pool::wait_until_done(int num_pieces) {
    const uint32_t wanted = uint32_t(num_pieces);
    for (int spin = 0; spin < SPINS; spin++) {
        if (num_done.load(std::memory_order_acquire) == wanted) return;
        pause_briefly();
    }
    is_caller_asleep = 1;
    for (uint32_t done = num_done.load(); done != wanted; done = num_done.load()) {
        sleep_while(num_done, done);
    }
    is_caller_asleep = 0;
}

void nextword_pool::run(int num_pieces, Piece function, void *context) {
    if (num_helpers == 0 || num_pieces <= 1) {
        for (int piece = 0; piece < num_pieces; piece++) function(context, piece);
        return;
    }
    // Several models may share the threads, and each computes on a thread of its own.
    pthread_mutex_lock(&one_job);
    piece_function = function;
    piece_context = context;
    num_pieces_of_job = uint32_t(num_pieces);
    num_done.store(0, std::memory_order_relaxed);
    const uint32_t job = job_word.load(std::memory_order_relaxed) + 1;
    untaken.store(uint64_t(job) << 32 | uint32_t(num_pieces), std::memory_order_release);
    job_word.store(job);
    // Who is on its way to sleep looks at the job's number once more.
    if (num_asleep.load() != 0) wake_all(job_word);
    if (!work(job)) wait_until_done(num_pieces);
    pthread_mutex_unlock(&one_job);
}
