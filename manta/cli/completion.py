"""Completion in bash: the shell breaks words at `:` and `=`, which Typer's own script does not see through."""

from typing import Final

from typer import _completion_shared

# What is typed is read anew from the whole line. Any word that begins like a URI is completed as one, whatever the
# command; of each candidate the shell gets what stands behind the part that it takes for words of their own.
BASH: Final = r"""
%(complete_func)s() {
    local line="${COMP_LINE:0:COMP_POINT}" words word given typed item found
    read -a words <<< "$line"
    [[ $line == *[![:space:]] || $line == *\\' ' ]] || words+=("")
    word="${words[-1]}"
    typed="${COMP_WORDS[COMP_CWORD]}"
    [[ $typed == [:=@] ]] && typed=""
    read given <<< "$typed"
    if [[ $word == s3://* ]]; then
        words=(manta cat "$word")
    fi
    COMPREPLY=()
    while IFS= read -r item; do
        [[ -n $item && $item == "$word"* ]] || continue
        printf -v found '%%q' "${item:$(( ${#word} - ${#given} ))}"
        COMPREPLY+=("$found")
    done < <(env COMP_WORDS="$(printf '%%q ' "${words[@]}")" COMP_CWORD=$(( ${#words[@]} - 1 )) \
                 %(autocomplete_var)s=complete_bash $1 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace
    return 0
}

complete -o default -F %(complete_func)s %(prog_name)s
"""


def use_own_script() -> None:
    """For `--show-completion` and `--install-completion` of bash."""
    _completion_shared._completion_scripts["bash"] = BASH
