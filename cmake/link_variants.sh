#!/bin/sh
# link_variants.sh FOLDER --variant NAME OBJECT... --variant NAME OBJECT...: what cmake/ElastronVariants.cmake says. The
# first variant runs everywhere. Writes FOLDER/NAME.o of each, and FOLDER/dispatch.o: the functions' own names, and
# elastron_take_variant(n), which makes them the n-th variant's. elastron_choose_variant() is called before main().
set -eu
folder=$1
shift
mkdir -p "$folder"
cd "$folder"
variants=""
while [ $# -gt 0 ]; do
  [ "$1" = --variant ] || { echo "error: '$1' belongs to no variant (command line)" >&2; exit 2; }
  name=$2
  shift 2
  : >"$name.objects"
  while [ $# -gt 0 ] && [ "$1" != --variant ]; do
    echo "\"$1\"" >>"$name.objects"
    shift
  done
  # Functions that many objects have are dissolved from their groups where they become local: of a group that is
  # elsewhere too the linker would drop the members.
  if [ -z "$variants" ]; then
    "$LD" -r -o "$name.all" "@$name.objects"
  else
    "$LD" -r --force-group-allocation -o "$name.all" "@$name.objects"
  fi
  "$NM" --defined-only --format=posix "$name.all" | awk '$2 == "T" { print $1 }' | sort >"$name.functions"
  variants="$variants $name"
done

# What only a newer processor's variant has is its own.
base=${variants# }
base=${base%% *}
for name in $variants; do
  missing=$(comm -23 "$base.functions" "$name.functions" | head -n 1)
  [ -z "$missing" ] || { echo "error: $missing is not in variant $name ($folder): give every variant every function" >&2; exit 2; }
  sed "s/.*/& &.$name/" "$base.functions" >"$name.names"
  "$OBJCOPY" --redefine-syms="$name.names" "$name.all" "$name.renamed"
  if [ "$name" = "$base" ]; then
    mv "$name.renamed" "$name.o"
  else
    sed "s/.*/&.$name/" "$base.functions" >"$name.kept"
    "$OBJCOPY" --keep-global-symbols="$name.kept" "$name.renamed" "$name.o"
    rm "$name.renamed"
  fi
  rm "$name.all"
done

# A table of all variants' functions, one row each; the row in use begins as the first one.
{
  echo '.data'
  echo '.balign 8'
  echo 'in_use:'
  sed "s/.*/.quad &.$base/" "$base.functions"
  for name in $variants; do
    echo '.section .data.rel.ro,"aw"'
    echo '.balign 8'
    echo "row_$name:"
    sed "s/.*/.quad &.$name/" "$base.functions"
  done
  echo 'rows:'
  for name in $variants; do echo ".quad row_$name"; done
  echo '.text'
  awk '{ printf ".globl %s\n.type %s, @function\n%s:\nendbr64\njmp *in_use+%d(%%rip)\n.size %s, . - %s\n", $1, $1, $1, 8 * (NR - 1), $1, $1 }' \
    "$base.functions"
  cat <<TEXT
.globl elastron_take_variant
.type elastron_take_variant, @function
elastron_take_variant:
endbr64
leaq rows(%rip), %rsi
movslq %edi, %rdi
movq (%rsi,%rdi,8), %rsi
leaq in_use(%rip), %rdi
movl \$$(wc -l <"$base.functions"), %ecx
cld
rep movsq
ret
.size elastron_take_variant, . - elastron_take_variant
.section .init_array,"aw"
.balign 8
.quad elastron_choose_variant
.section .note.GNU-stack,"",@progbits
TEXT
} >dispatch.s
"$CXX" -c -o dispatch.o dispatch.s
