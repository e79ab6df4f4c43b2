#include "model.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>

namespace {

constexpr size_t LARGE_PAGE = size_t(2) << 20;

}  // namespace

Memory::~Memory() {
    if (data != nullptr) munmap(data, size);
}

bool Memory::take(size_t num_bytes) {
    if (data != nullptr) munmap(data, size);
    data = nullptr;
    size = 0;
    const size_t unit = num_bytes >= LARGE_PAGE ? LARGE_PAGE : 4096;
    // Vectors at the end are read whole.
    const size_t wanted = size_t(round_up(int64_t(num_bytes) + 64, int64_t(unit)));
    // Large pages need an address that is a multiple of theirs.
    const size_t slack = unit == LARGE_PAGE ? LARGE_PAGE : 0;
    // Not MAP_NORESERVE: what this machine could never hold must fail here, not when it is filled.
    void *mapped = mmap(nullptr, wanted + slack, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return false;
    uint8_t *first = static_cast<uint8_t *>(mapped);
    if (slack != 0) {
        uint8_t *begin = reinterpret_cast<uint8_t *>(
            round_up(int64_t(reinterpret_cast<uintptr_t>(first)), int64_t(LARGE_PAGE)));
        if (begin != first) munmap(first, size_t(begin - first));
        const size_t behind = slack - size_t(begin - first);
        if (behind != 0) munmap(begin + wanted, behind);
        first = begin;
#ifdef MADV_HUGEPAGE
        madvise(first, wanted, MADV_HUGEPAGE);
#endif
    }
    data = first;
    size = wanted;
    return true;
}

bool Memory::grow(size_t num_bytes) { return num_bytes + 64 <= size || take(num_bytes); }

void Matrix::shape(int32_t num_outputs, int32_t num_inputs, int32_t weight_type) {
    outputs = num_outputs;
    inputs = num_inputs;
    type = weight_type;
    const int whole = num_inputs / GROUP * GROUP, rest = num_inputs - whole;
    panel_bytes = offset(type, whole);
    if (rest != 0) {
        const size_t pairs = size_t(rest + 1) / 2;
        panel_bytes += type == NEXTWORD_F32    ? size_t(rest) * PANEL * 4
                       : type == NEXTWORD_BF16 ? pairs * PANEL * 4
                                               : PANEL * 4 + pairs * PANEL * 2;
    }
    panel_bytes = size_t(round_up(int64_t(panel_bytes), 64));
}

size_t Matrix::offset(int32_t type, int input) {
    if (type == NEXTWORD_F32) return size_t(input) * PANEL * 4;
    if (type == NEXTWORD_BF16) return size_t(input) / 2 * PANEL * 4;
    return size_t(input) / GROUP * (PANEL * 4 + GROUP * PANEL);
}

void Matrix::pack(int output, const float *weights) {
    uint8_t *panel_data = data + panel_bytes * size_t(output / PANEL);
    const size_t column = size_t(output % PANEL);
    if (type == NEXTWORD_F32) {
        float *target = reinterpret_cast<float *>(panel_data) + column;
        for (int input = 0; input < inputs; input++) target[input * PANEL] = weights[input];
    } else if (type == NEXTWORD_BF16) {
        uint16_t *target = reinterpret_cast<uint16_t *>(panel_data) + column * 2;
        for (int input = 0; input < inputs; input++) {
            target[input / 2 * PANEL * 2 + input % 2] = float_to_bf16(weights[input]);
        }
    } else {
        for (int first = 0; first < inputs; first += GROUP) {
            const int size = inputs - first < GROUP ? inputs - first : GROUP;
            float largest = 0.0f;
            bool is_finite = true;
            for (int input = 0; input < size; input++) {
                largest = fmaxf(largest, fabsf(weights[first + input]));
                is_finite = is_finite && isfinite(weights[first + input]);
            }
            uint8_t *group = panel_data + offset(type, first);
            // What is not finite stays so: the whole group is spoiled, and every logit with it.
            reinterpret_cast<float *>(group)[column] = is_finite ? largest / 127.0f : NAN;
            const float inverse = is_finite && largest > 1e-30f ? 127.0f / largest : 0.0f;
            int8_t *target = reinterpret_cast<int8_t *>(group + PANEL * 4) + column * 2;
            for (int input = 0; input < size; input++) {
                target[input / 2 * PANEL * 2 + input % 2] =
                    is_finite ? int8_t(lrintf(weights[first + input] * inverse)) : int8_t(0);
            }
        }
    }
}

void Matrix::unpack(int output, float *weights) const {
    const uint8_t *panel_data = panel(output / PANEL);
    const size_t column = size_t(output % PANEL);
    for (int input = 0; input < inputs; input++) {
        const size_t place = size_t(input / 2) * PANEL * 2 + column * 2 + size_t(input % 2);
        if (type == NEXTWORD_F32) {
            weights[input] =
                reinterpret_cast<const float *>(panel_data)[size_t(input) * PANEL + column];
        } else if (type == NEXTWORD_BF16) {
            weights[input] = bf16_to_float(reinterpret_cast<const uint16_t *>(panel_data)[place]);
        } else {
            const uint8_t *group = panel_data + offset(type, input);
            const size_t inside = size_t(input % GROUP) / 2 * PANEL * 2 + column * 2;
            const int8_t *bytes = reinterpret_cast<const int8_t *>(group + PANEL * 4);
            weights[input] = reinterpret_cast<const float *>(group)[column] *
                             float(bytes[inside + size_t(input % 2)]);
        }
    }
}
