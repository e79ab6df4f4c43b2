// Threads that take the pieces of one job after another and wait passively in between.
//
// A job is over when its pieces are done, not when every thread has seen it: a thread that has
// lost its core holds up at most the piece it works on. See docs/decisions/0084.
#ifndef NEXTWORD_POOL_H
#define NEXTWORD_POOL_H

#include <pthread.h>
#include <stdint.h>

#include <atomic>
#include <type_traits>

// Opaque in the C interface.
struct nextword_pool {
    using Piece = void (*)(void *context, int piece);

    static nextword_pool *create(int num_threads);  // null: no thread could be had
    ~nextword_pool();

    // Call function(context, piece) for 0 <= piece < num_pieces, each once, on any thread. Whoever
    // comes while another job is under way waits for its end, so a piece must not call it.
    void run(int num_pieces, Piece function, void *context);

    template <class Function>
    void run(int num_pieces, Function &&function) {
        auto call = [](void *context, int piece) {
            (*static_cast<std::remove_reference_t<Function> *>(context))(piece);
        };
        run(num_pieces, call, &function);
    }

    int num_threads = 1;

   private:
    static void *helper_main(void *pool);
    void help();
    bool work(uint32_t job);
    void wait_for_job(uint32_t seen);
    void wait_until_done(int num_pieces);

    // The number of the job (upper half) and how many of its pieces nobody has taken yet. One word:
    // who takes a piece knows that the job still is the one it looked at.
    alignas(64) std::atomic<uint64_t> untaken{0};
    alignas(64) std::atomic<uint32_t> num_done{0};
    std::atomic<uint32_t> is_caller_asleep{0};
    alignas(64) std::atomic<uint32_t> job_word{0};  // the number again, for sleepers to wait on
    std::atomic<uint32_t> num_asleep{0};
    std::atomic<bool> is_closing{false};
    // Written while no piece is out; read by who has taken one.
    alignas(64) Piece piece_function = nullptr;
    void *piece_context = nullptr;
    uint32_t num_pieces_of_job = 0;
    pthread_mutex_t one_job = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *helpers = nullptr;
    int num_helpers = 0;
};

#endif
