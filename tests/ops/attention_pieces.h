// Sequences of an AttentionProblem cut into pieces, as ranks of a context group have them: each
// piece is a sequence of its own, with all keys before its end.
#pragma once
#include <gtest/gtest.h>

#include <vector>

#include "tests/ops/routed_attention_problem.h"

namespace elastron::testing {

struct AttentionPiece {
  int64_t sequence, begin, end;  // tokens of the sequence
};

// All pieces of a problem's sequences, `blocks` blocks long but for what is left; the
// last ones first, every other sequence's behind those of the rest.
inline std::vector<AttentionPiece> pieces_of(const AttentionProblem& whole, int64_t blocks) {
  std::vector<AttentionPiece> pieces;
  const int64_t each = blocks * whole.block();
  for (const int64_t odd : {1, 0}) {
    for (int64_t s = odd; s < whole.sequences(); s += 2) {
      const int64_t length = whole.cu_seqlens[size_t(s) + 1] - whole.cu_seqlens[size_t(s)];
      for (int64_t begin = (length - 1) / each * each; begin >= 0 && length > 0; begin -= each) {
        pieces.push_back({s, begin, std::min(length, begin + each)});
      }
    }
  }
  return pieces;
}

// The problem of the pieces alone.
inline AttentionProblem cut(const AttentionProblem& whole,
                            const std::vector<AttentionPiece>& pieces) {
  AttentionProblem p = whole;
  p.cu_seqlens = p.cu_keys = {0};
  p.gate = {};
  p.q = p.k = p.v = p.d_out = {};
  p.first_whole_length = whole.cu_seqlens[1];
  for (const AttentionPiece& piece : pieces) {
    const int64_t first = whole.cu_seqlens[size_t(piece.sequence)];
    p.cu_seqlens.push_back(p.cu_seqlens.back() + int32_t(piece.end - piece.begin));
    p.cu_keys.push_back(p.cu_keys.back() + int32_t(piece.end));
    p.whole_lengths.push_back(int32_t(whole.cu_seqlens[size_t(piece.sequence) + 1] - first));
    const auto gate = whole.gate.begin() + piece.sequence * whole.kv_heads;
    p.gate.insert(p.gate.end(), gate, gate + whole.kv_heads);
    const auto take = [&](const std::vector<double>& from, int64_t heads, int64_t begin,
                          std::vector<double>& to) {
      const int64_t width = heads * whole.head_dim;
      to.insert(to.end(), from.begin() + (first + begin) * width,
                from.begin() + (first + piece.end) * width);
    };
    take(whole.q, whole.q_heads, piece.begin, p.q);
    take(whole.d_out, whole.q_heads, piece.begin, p.d_out);
    take(whole.k, whole.kv_heads, 0, p.k);
    take(whole.v, whole.kv_heads, 0, p.v);
  }
  p.q.resize(p.q.size() + size_t(p.padding * p.q_heads * p.head_dim));
  p.d_out.resize(p.q.size());
  return p;
}

// What the pieces' run says of the whole: rows in their places, and sums of what each has a part
// of.
inline AttentionRun joined(const AttentionProblem& whole, const std::vector<AttentionPiece>& pieces,
                           const AttentionRun& run) {
  AttentionRun all;
  const auto rows = [&](const std::vector<double>& from, int64_t width) {
    std::vector<double> to(from.empty() ? 0 : size_t(whole.tokens() * width));
    auto at = from.begin();
    for (const AttentionPiece& piece : pieces) {
      if (from.empty()) break;
      const int64_t count = (piece.end - piece.begin) * width;
      std::copy_n(at, count,
                  to.begin() + (whole.cu_seqlens[size_t(piece.sequence)] + piece.begin) * width);
      at += count;
    }
    return to;
  };
  const int64_t width = whole.q_heads * whole.head_dim;
  all.selected = rows(run.selected, width);
  all.other = rows(run.other, width);
  all.dq = rows(run.dq, width);
  all.lse = rows(run.lse, whole.q_heads);
  all.lse_other = rows(run.lse_other, whole.q_heads);
  const auto sums = [&](const std::vector<double>& from) {
    const int64_t key = whole.kv_heads * whole.head_dim;
    std::vector<double> to(from.empty() ? 0 : size_t(whole.tokens() * key));
    auto at = from.begin();
    for (const AttentionPiece& piece : pieces) {
      if (from.empty()) break;
      const int64_t first = whole.cu_seqlens[size_t(piece.sequence)] * key;
      for (int64_t i = 0; i < piece.end * key; ++i) to[size_t(first + i)] += *at++;
    }
    return to;
  };
  all.dk = sums(run.dk);
  all.dv = sums(run.dv);
  all.visited.assign(whole.gate.size(), 0);
  all.d_gate.assign(run.d_gate.empty() ? 0 : whole.gate.size(), 0);
  for (size_t i = 0; i < run.visited.size(); ++i) {
    const size_t at = size_t(pieces[i / size_t(whole.kv_heads)].sequence * whole.kv_heads) +
                      i % size_t(whole.kv_heads);
    all.visited[at] += run.visited[i];
    if (!run.d_gate.empty()) all.d_gate[at] += run.d_gate[i];
  }
  return all;
}

// Rows have the bits of the whole's; sums over the pieces agree to `tolerance` of the largest.
inline void expect_whole_run(const AttentionRun& run, const AttentionRun& truth, double tolerance) {
  EXPECT_EQ(run.selected, truth.selected);
  EXPECT_EQ(run.other, truth.other);
  EXPECT_EQ(run.lse, truth.lse);
  EXPECT_EQ(run.lse_other, truth.lse_other);
  EXPECT_EQ(run.dq, truth.dq);
  EXPECT_EQ(run.visited, truth.visited);
  for (const auto sum : {&AttentionRun::dk, &AttentionRun::dv, &AttentionRun::d_gate}) {
    double most = 1;
    for (const double x : truth.*sum) most = std::max(most, std::abs(x));
    EXPECT_LE(largest_error(run.*sum, truth.*sum), tolerance * most);
  }
}

inline ops::BlockChoice chosen(const ops::RoutedAttentionInput& in) {
  return ops::choose_blocks(in.q, in.k, in.varlen, in.softmax_scale, *in.pattern.chooser(), in.gate,
                            ops::ChoiceFor::all);
}

// Pieces of so many blocks choose the blocks of the whole, bit for bit, by rows and by columns.
template <class Storage>
void expect_whole_choice(Device& device, const AttentionProblem& whole, int64_t blocks) {
  // On the host.
  struct Bits {
    std::vector<int32_t> rows, columns, starts;
    int64_t mask_words;
    int32_t block, shared_by;
    explicit Bits(const ops::BlockChoice& choice)
        : rows(choice.rows.to_vector<int32_t>()),
          columns(choice.columns.to_vector<int32_t>()),
          starts(choice.starts.to_vector<int32_t>()),
          mask_words(choice.rows.size(1)),
          block(int32_t(choice.block)),
          shared_by(int32_t(choice.shared_by)) {}
    ops::BlockChoiceView view() const {
      return {reinterpret_cast<const uint32_t*>(rows.data()),
              reinterpret_cast<const uint32_t*>(columns.data()),
              starts.data(),
              mask_words,
              block,
              shared_by};
    }
  };
  const auto pieces = pieces_of(whole, blocks);
  const AttentionTensors<Storage> tensors(whole, device), parts(cut(whole, pieces), device);
  const Bits truth(chosen(tensors.input)), choice(chosen(parts.input));
  const ops::BlockChoiceView a = truth.view(), b = choice.view();
  const int64_t block = whole.block();
  int64_t left_out = 0;
  for (size_t n = 0; n < pieces.size(); ++n) {
    const AttentionPiece& piece = pieces[n];
    const auto s = size_t(piece.sequence);
    const int64_t length = whole.cu_seqlens[s + 1] - whole.cu_seqlens[s];
    const int64_t before = piece.begin / block, keys = (piece.end + block - 1) / block;
    for (int64_t h = 0; h < whole.q_heads; ++h) {
      for (int64_t i = before; i < keys; ++i) {
        const auto row = a.row(h, piece.sequence, length, i);
        const auto own = b.row(h, int64_t(n), piece.end, i - before);
        for (int64_t j = 0; j < keys; ++j) {
          ASSERT_EQ(own.has(j), row.has(j)) << "head " << h << " blocks " << i << " " << j;
          ASSERT_EQ(own.has(j),
                    b.column(h, int64_t(n), piece.end - piece.begin, j).has(i - before));
          left_out += row.has(j) || j > i ? 0 : 1;
        }
      }
    }
  }
  EXPECT_GT(left_out, 0);
}

}  // namespace elastron::testing
