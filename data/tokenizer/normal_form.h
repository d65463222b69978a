// Unicode Normalization Forms, as the reference's tokenizers have them.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace elastron::data {

enum class NormalForm : uint8_t { none, nfc, nfkc };

// `text`, which must be UTF-8, in the form: `text` itself when it has nothing that could change (as
// almost all text), otherwise `storage`, filled with it.
// The reference's tables are those of Unicode 9: what was assigned later is left as it stands.
// Linear but for the sorting of runs of combining marks, n log n.
std::string_view normalize(NormalForm form, std::string_view text, std::string& storage);

}  // namespace elastron::data
