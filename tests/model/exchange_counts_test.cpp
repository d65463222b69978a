// What the exchange of rows asks of a GPU in a layer's attention: as many kernels and copies for
// any batch, few, and one upload for all layers.
#include <gtest/gtest.h>

#include <string_view>

#include "core/meta_device.h"
#include "model/attention_exchange.h"
#include "parallel/recording.h"
#include "tests/model/batch_of_lengths.h"

namespace elastron::model {
namespace {

constexpr int64_t kQHeads = 32, kKvHeads = 8, kDim = 128;
constexpr int64_t kMost = 12;  // kernels and copies per layer and direction

// Pairs of responses to a prompt that is there once.
data::PackedBatch pairs(int32_t count) {
  std::vector<int32_t> lengths;
  for (int32_t p = 0; p < count; ++p) lengths.insert(lengths.end(), {700, 150 + p, 250 - p});
  data::PackedBatch batch = test::batch_of_lengths(lengths);
  for (int32_t p = 0; p < count; ++p) {
    batch.document_of.insert(batch.document_of.end(), 3, p);
    batch.prefix_of.insert(batch.prefix_of.end(), {-1, 3 * p, 3 * p});
  }
  batch.range_ids.resize(size_t(count));
  return batch;
}

std::vector<int32_t> ragged(int count) {
  std::vector<int32_t> lengths;
  for (int i = 0; i < count; ++i) lengths.push_back(3 + i * 613 % 500);
  lengths.push_back(20000);
  return lengths;
}

int64_t calls(const MetaDevice& device) {
  int64_t sum = 0;
  for (const RangeRecord& range : device.ranges()) {
    sum += range.copies;
    for (const OpRecord& op : range.ops) {
      // A collective's own, which adds up what came of all ranks.
      if (std::string_view(op.sum.name) != "sum_parts") sum += op.sum.launches;
    }
  }
  return sum;
}

struct Calls {
  int64_t forward = 0, backward = 0, upload = 0;
};

class ExchangeCounts : public ::testing::Test {
 protected:
  Tensor rows(int64_t count, int64_t heads, DType dtype = DType::bf16) {
    return Tensor::empty({count, heads, kDim}, dtype, device_);
  }
  template <class F>
  int64_t calls_of(const F& f) {
    device_.clear_records();
    f();
    return calls(device_);
  }

  // Of a layer, without what attention itself asks for on the same inputs.
  Calls count(const AttentionExchange& exchange, int64_t own_rows, int64_t documents) {
    std::vector<ops::RoutedAttentionInput> inputs;
    const auto describe = [&](ops::RoutedAttentionInput& in) {
      in.pattern.sparse.rule = ops::StreamingRule::from_tokens(128, 2048, 64);
      in.softmax_scale = 0.1;
      inputs.push_back(in);
    };
    const Tensor q = rows(own_rows, kQHeads), k = rows(own_rows, kKvHeads);
    const Tensor v = rows(own_rows, kKvHeads), d_out = rows(own_rows, kQHeads);
    const Tensor gate = Tensor::empty({documents, kKvHeads}, DType::u8, device_);
    const auto begin = [&] {
      auto begun = exchange.begin(k, v);
      exchange.begin_queries(q, begun);
      return begun;
    };
    Calls all;
    Attended attended;
    all.forward = calls_of([&] {
      auto begun = begin();
      attended = exchange.forward(begun, gate, describe, ops::Branches::both, /*again=*/false);
      exchange.own_rows(attended);
    });
    std::vector<ops::RoutedAttentionOutput> outputs;
    all.forward -= calls_of([&] {
      for (const auto& in : inputs) {
        outputs.push_back(ops::routed_attention_forward(in, ops::Branches::both));
      }
    });
    inputs.clear();
    all.backward = calls_of([&] {
      exchange.backward(d_out, begin(), gate, describe, std::move(attended), true, true);
    });
    all.backward -= calls_of([&] {
      for (size_t g = 0; g < inputs.size(); ++g) {
        ops::routed_attention_backward(outputs[g].selected, inputs[g], outputs[g], true, true);
      }
    });
    return all;
  }

  Calls gathered(const data::PackedBatch& batch, int ranks, int rank, bool ulysses = false) {
    parallel::CollectiveLog log;
    parallel::RecordingCommunicator context("context", rank, ranks, log);
    std::vector<int32_t> offsets;
    for (int64_t s = 0; s < batch.sequences(); ++s) offsets.push_back(int32_t(batch.offset(s)));
    const auto plan = data::plan_context(batch.cu_seqlens, ranks, data::kContextBlock, offsets);
    std::unique_ptr<AttentionExchange> exchange;
    const int64_t upload = calls_of([&] {
      exchange = ulysses ? exchanged_heads(batch, plan, context, device_)
                         : gathered_attention(batch, plan, context, device_);
    });
    Calls all = count(*exchange, plan.rows, batch.documents());
    all.upload = upload;
    return all;
  }
  Calls local(const data::PackedBatch& batch) {
    std::unique_ptr<AttentionExchange> exchange;
    const int64_t upload = calls_of([&] { exchange = local_attention(batch, device_); });
    Calls all = count(*exchange, batch.tokens(), batch.documents());
    all.upload = upload;
    return all;
  }

  MetaDevice device_{DeviceKind::cuda};
};

std::vector<std::pair<std::string, data::PackedBatch>> batches() {
  std::vector<std::pair<std::string, data::PackedBatch>> all;
  for (const auto& [documents, length] :
       {std::pair{1, 65536}, {8, 8192}, {64, 1024}, {9, 1024}, {3, 100}}) {
    all.emplace_back(std::to_string(documents) + " x " + std::to_string(length),
                     test::batch_of_lengths(std::vector<int32_t>(size_t(documents), length)));
  }
  all.emplace_back("ragged", test::batch_of_lengths(ragged(300)));
  all.emplace_back("pairs", pairs(40));
  return all;
}

TEST_F(ExchangeCounts, FewOfAnyBatchOnContextRanks) {
  for (const auto& [name, batch] : batches()) {
    for (const auto& [ranks, rank] : {std::pair{2, 0}, {8, 0}, {8, 7}}) {
      for (const bool ulysses : {false, true}) {
        SCOPED_TRACE(name + ", rank " + std::to_string(rank) + " of " + std::to_string(ranks) +
                     (ulysses ? ", ulysses" : ", gather"));
        const Calls all = gathered(batch, ranks, rank, ulysses);
        EXPECT_LE(all.forward, kMost);
        EXPECT_LE(all.backward, kMost);
        EXPECT_EQ(all.upload, 1);
        EXPECT_GT(all.forward, 0);
        EXPECT_GT(all.backward, 0);
      }
    }
  }
}

// Nothing where all rows are here, and few where responses share prompts.
TEST_F(ExchangeCounts, NoneOnOneRankButForSharedPrompts) {
  for (const auto& [name, batch] : batches()) {
    SCOPED_TRACE(name);
    const Calls all = local(batch);
    const bool prompts = name == "pairs";
    EXPECT_LE(all.forward, prompts ? 3 : 0);   // keys, values, gates
    EXPECT_LE(all.backward, prompts ? 5 : 0);  // and sums of all three, of gates instead
    EXPECT_EQ(all.upload, prompts ? 1 : 0);
  }
}

}  // namespace
}  // namespace elastron::model
