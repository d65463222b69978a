// Scores of groups tile by tile, each tile reduced at once to a maximum and a sum per (query group,
// key block): what is kept is linear in the sequence. Lanes are query groups, as in the attention.
#include "ops/cpu/xattention.h"

#include <omp.h>

#include <limits>
#include <type_traits>

#include "ops/cpu/routed_attention_gemm.h"
#include "ops/detail/xattention_math.h"

namespace elastron::ops::cpu {
namespace {

constexpr int64_t kGroups = 64;  // of a tile, of queries and of keys

// Query groups that one thread takes at a time.
int64_t rows_at_once(const XAttentionRule& rule) {
  return detail::groups_at_once(rule.block / rule.stride, kGroups);
}

template <class T>
struct ChoiceWorkspace {
  T *queries, *keys, *scores, *most, *total, *mass;
  int64_t* units;
  ChoiceWorkspace(std::byte* memory, const XAttentionRule& rule, int64_t head_dim, int64_t blocks) {
    const int64_t each = rows_at_once(rule) / (rule.block / rule.stride);
    queries = reinterpret_cast<T*>(memory);             // [stride, head_dim, groups]
    keys = queries + rule.stride * head_dim * kGroups;  // [groups, stride, head_dim]
    scores = keys + rule.stride * head_dim * kGroups;   // [key groups, query groups]
    most = scores + kGroups * kGroups;                  // [blocks, groups], log2
    total = most + blocks * kGroups;                    // [blocks, groups]
    mass = total + blocks * kGroups;                    // [query blocks at once, blocks]
    units = reinterpret_cast<int64_t*>(mass + (each * blocks + 15) / 16 * 16);  // [blocks]
  }
  static size_t bytes(const XAttentionRule& rule, int64_t head_dim, int64_t blocks) {
    const int64_t each = rows_at_once(rule) / (rule.block / rule.stride);
    const int64_t elements = 2 * rule.stride * head_dim * kGroups + kGroups * kGroups +
                             2 * blocks * kGroups + (each * blocks + 15) / 16 * 16;
    return (size_t(elements) * sizeof(T) + size_t(blocks) * sizeof(int64_t) + 63) / 64 * 64;
  }
};

template <class Storage>
class XAttentionChooser {
  using T = accumulator_t<Storage>;
  static constexpr int n = kLanes<T>;
  static constexpr T kNever = -std::numeric_limits<T>::infinity();

 public:
  XAttentionChooser(const XAttentionArgs& args, int64_t blocks, std::byte* memory)
      : args_(args),
        rule_(args.rule),
        dim_(args.shape.head_dim),
        each_(args.rule.block / args.rule.stride),
        space_(memory, args.rule, args.shape.head_dim, blocks) {}

  // The query groups [first, first + rows_at_once) of a sequence and a head.
  void run(int64_t sequence, int64_t head, int64_t first) {
    sequence_ = sequence;
    head_ = head;
    first_token_ = args_.varlen.begin(sequence) - args_.varlen.offset(sequence);
    first_key_ = args_.varlen.key_begin(sequence);
    length_ = args_.varlen.key_length(sequence);
    const int64_t past =
        std::min(detail::groups_of(length_, rule_.stride), first + rows_at_once(rule_));
    const int64_t first_block = first / each_, last_block = (past - 1) / each_;
    blocks_ = last_block + 1;
    std::fill_n(space_.mass, (last_block - first_block + 1) * blocks_, T(0));
    for (int64_t row = first; row < past; row += kGroups) {
      add_masses(row, std::min(past, row + kGroups), first_block);
    }
    for (int64_t block = first_block; block <= last_block; ++block) {
      const T* mass = space_.mass + (block - first_block) * blocks_;
      for (int64_t j = 0; j <= block; ++j) {
        space_.units[j] = detail::mass_units(double(mass[j]));
      }
      const int64_t groups =
          std::min(detail::groups_of(length_, rule_.stride), (block + 1) * each_) - block * each_;
      const bool lagging = block * rule_.block < args_.lagging_tokens();
      select_blocks({space_.units, size_t(block) + 1},
                    detail::needed_units(rule_.threshold, groups), lagging,
                    [&](int64_t j) { choose(block, j); });
    }
  }

 private:
  // A row of bits is this thread's own; a column is shared with those who have other rows.
  void choose(int64_t query_block, int64_t key_block) {
    const int64_t at = head_ * args_.starts.back() + args_.starts[size_t(sequence_)];
    const int64_t row = query_block - args_.varlen.offset(sequence_) / rule_.block;
    const int64_t row_words = BlockChoiceView::words_of(length_, rule_.block);
    const int64_t column_words =
        BlockChoiceView::words_of(args_.varlen.length(sequence_), rule_.block);
    args_.rows[at + row * row_words + key_block / kChoiceBits] |= 1u << (key_block % kChoiceBits);
    uint32_t& column = args_.columns[at + key_block * column_words + row / kChoiceBits];
    const uint32_t bit = 1u << (row % kChoiceBits);
#pragma omp atomic
    column |= bit;
  }

  const Storage* query_row(int64_t position) const {
    return static_cast<const Storage*>(args_.q.data) +
           (first_token_ + position) * args_.q.token_stride + head_ * dim_;
  }
  const Storage* key_row(int64_t position) const {
    return static_cast<const Storage*>(args_.k.data) +
           (first_key_ + position) * args_.k.token_stride + head_ / args_.shape.group() * dim_;
  }

  void load_queries(int64_t first, int64_t past) {
    const auto factor = T(detail::score_factor(args_.scale, rule_.stride));
    static constexpr Storage kZeros[256] = {};
    for (int64_t j = 0; j < rule_.stride; ++j) {
      const auto row = [&](int64_t r) {
        const int64_t position = (first + r) * rule_.stride + rule_.stride - 1 - j;
        return position < length_ ? query_row(position) : kZeros;
      };
      pack_transposed<T, Storage>(row, past - first, dim_, factor,
                                  space_.queries + j * dim_ * kGroups, kGroups);
    }
  }

  // Where offset 0 of the key group `first` stands, and how far it is from group to group and from
  // offset to offset: in place, or a copy if the groups must be widened or end in zeros.
  struct Keys {
    const T* data;
    int64_t group, offset;
  };
  Keys load_keys(int64_t first, int64_t count) {
    if constexpr (std::is_same_v<Storage, T>) {
      if ((first + count) * rule_.stride <= length_) {
        return {key_row(first * rule_.stride), rule_.stride * args_.k.token_stride,
                args_.k.token_stride};
      }
    }
    for (int64_t i = 0; i < count * rule_.stride; ++i) {
      const int64_t position = first * rule_.stride + i;
      T* to = space_.keys + i * dim_;
      if (position >= length_) {
        std::fill_n(to, dim_, T(0));
        continue;
      }
      const Storage* from = key_row(position);
      for (int64_t d = 0; d < dim_; ++d) to[d] = T(from[d]);
    }
    return {space_.keys, rule_.stride * dim_, dim_};
  }

  // Adds P of the query groups [first, past), at most kGroups, to the masses of their blocks.
  void add_masses(int64_t first, int64_t past, int64_t first_block) {
    const int registers = int((past - first + n - 1) / n);
    load_queries(first, past);
    std::fill_n(space_.most, blocks_ * kGroups, kNever);
    std::fill_n(space_.total, blocks_ * kGroups, T(0));
    for (int64_t key = 0; key < past; key += kGroups) {
      score_tile(first, key, std::min(kGroups, past - key), registers);
      for (int64_t at = key; at < std::min(past, key + kGroups);) {
        const int64_t block = at / each_;
        const int64_t end = std::min({past, key + kGroups, (block + 1) * each_});
        gather(block, at - key, end - key, registers);
        at = end;
      }
    }
    T factor[kGroups];
    for (int c = 0; c < registers; ++c) {
      vec<T> top = broadcast<T>(kNever), sum = vec<T>{};
      for (int64_t j = 0; j < blocks_; ++j) {
        top = larger<T>(load<T>(space_.most + j * kGroups + c * n), top);
      }
      for (int64_t j = 0; j < blocks_; ++j) {
        T* most = space_.most + j * kGroups + c * n;
        const vec<T> weight = exp2_lanes<T>(load<T>(most) - top);
        store<T>(most, weight);
        sum += weight * load<T>(space_.total + j * kGroups + c * n);
      }
      store<T>(factor + c * n, broadcast<T>(T(1)) / sum);
    }
    for (int64_t row = first; row < past; ++row) {
      const int64_t lane = row - first;
      T* mass = space_.mass + (row / each_ - first_block) * blocks_;
      for (int64_t j = 0; j <= row / each_; ++j) {
        const int64_t at = j * kGroups + lane;
        mass[j] += space_.total[at] * space_.most[at] * factor[lane];
      }
    }
  }

  // scores [key groups from `key` on, query groups from `first` on], log2; later keys never.
  void score_tile(int64_t first, int64_t key, int64_t count, int registers) {
    const Keys keys = load_keys(key, count);
    for (int64_t j = 0; j < rule_.stride; ++j) {
      multiply<T>(
          {keys.data + j * keys.offset, keys.group, 1}, space_.queries + j * dim_ * kGroups,
          kGroups, count, registers, dim_,
          [&](int64_t r, int c) {
            return j == 0 ? vec<T>{} : load<T>(space_.scores + r * kGroups + c * n);
          },
          [&]<int kColumns>(int64_t r, int column, vec<T>(&sums)[kColumns]) {
#pragma GCC unroll 8
            for (int c = 0; c < kColumns; ++c) {
              store<T>(space_.scores + r * kGroups + (column + c) * n, sums[c]);
            }
          });
    }
    for (int64_t r = 0; r < count; ++r) {
      const int64_t hidden = std::min<int64_t>(key + r - first, kGroups);  // lanes before this
      for (int64_t lane = 0; lane < hidden; ++lane) space_.scores[r * kGroups + lane] = kNever;
    }
  }

  // Rows [from, to) of the scores, all of one key block, join its maxima and sums.
  void gather(int64_t block, int64_t from, int64_t to, int registers) {
    for (int c = 0; c < registers; ++c) {
      T* most = space_.most + block * kGroups + c * n;
      T* total = space_.total + block * kGroups + c * n;
      vec<T> top = load<T>(most);
      for (int64_t r = from; r < to; ++r) {
        top = larger<T>(load<T>(space_.scores + r * kGroups + c * n), top);
      }
      // Where nothing was seen yet all are -infinity: 2^(-inf - low) = 0 and not a NaN.
      const vec<T> base = larger<T>(top, broadcast<T>(std::numeric_limits<T>::lowest() / 4));
      vec<T> sum = load<T>(total) * exp2_lanes<T>(load<T>(most) - base);
      for (int64_t r = from; r < to; ++r) {
        sum += exp2_lanes<T>(load<T>(space_.scores + r * kGroups + c * n) - base);
      }
      store<T>(most, top);
      store<T>(total, sum);
    }
  }

  const XAttentionArgs& args_;
  const XAttentionRule rule_;
  const int64_t dim_, each_;  // each_: groups of a block
  ChoiceWorkspace<T> space_;
  // Rows of position 0 of the sequence, of queries and keys; its keys.
  int64_t first_token_ = 0, first_key_ = 0, length_ = 0;
  int64_t sequence_ = 0, head_ = 0, blocks_ = 0;
};

}  // namespace

size_t xattention_workspace(const XAttentionRule& rule, int64_t head_dim, int64_t longest,
                            size_t accumulator_bytes) {
  const int64_t blocks = BlockChoiceView::blocks_of(longest, rule.block);
  return accumulator_bytes == sizeof(double)
             ? ChoiceWorkspace<double>::bytes(rule, head_dim, blocks)
             : ChoiceWorkspace<float>::bytes(rule, head_dim, blocks);
}

template <class Storage>
void choose_blocks(const BlockChoiceArgs& all, const XAttentionRule& rule, int threads,
                   std::byte* workspace) {
  const XAttentionArgs args(all, rule);
  struct Work {
    int64_t sequence, head, first;
  };
  std::vector<Work> work;
  int64_t longest = 0;
  for (int64_t s = 0; s < args.varlen.sequences(); ++s) {
    longest = std::max(longest, args.varlen.key_length(s));
    for (int64_t h = 0; h < args.shape.q_heads; ++h) {
      const bool open = args.gate[s * args.shape.kv_heads + h / args.shape.group()] != 0;
      if (!is_wanted(args.whose, open)) continue;
      for (int64_t a = args.first_group(s); a < args.past_group(s); a += rows_at_once(args.rule)) {
        work.push_back({s, h, a});
      }
    }
  }
  // The last rows of a sequence see most: the longest first.
  std::stable_sort(work.begin(), work.end(),
                   [](const Work& a, const Work& b) { return a.first > b.first; });
  const int64_t blocks = BlockChoiceView::blocks_of(longest, args.rule.block);
  const size_t slice =
      xattention_workspace(args.rule, args.shape.head_dim, longest, sizeof(accumulator_t<Storage>));
  const auto count = int64_t(work.size());
#pragma omp parallel num_threads(int(std::clamp <int64_t>(count, 1, threads)))
  {
    XAttentionChooser<Storage> chooser(args, blocks,
                                       workspace + size_t(omp_get_thread_num()) * slice);
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < count; ++i) {
      chooser.run(work[size_t(i)].sequence, work[size_t(i)].head, work[size_t(i)].first);
    }
  }
}

template void choose_blocks<double>(const BlockChoiceArgs&, const XAttentionRule&, int, std::byte*);
template void choose_blocks<float>(const BlockChoiceArgs&, const XAttentionRule&, int, std::byte*);
template void choose_blocks<bf16>(const BlockChoiceArgs&, const XAttentionRule&, int, std::byte*);

}  // namespace elastron::ops::cpu
