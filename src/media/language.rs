//! Codes of languages. Files name them by three letters or two; players compare what playlists and manifests say with what
//! their viewer speaks, by RFC 5646, and `mdhd` has room for three letters alone.

/// Languages with a code of two letters (ISO 639-1), and their three (ISO 639-2/T).
const CODES: &str = "\
    aa-aar ab-abk ae-ave af-afr ak-aka am-amh an-arg ar-ara as-asm av-ava ay-aym az-aze ba-bak be-bel bg-bul bh-bih \
    bi-bis bm-bam bn-ben bo-bod br-bre bs-bos ca-cat ce-che ch-cha co-cos cr-cre cs-ces cu-chu cv-chv cy-cym da-dan \
    de-deu dv-div dz-dzo ee-ewe el-ell en-eng eo-epo es-spa et-est eu-eus fa-fas ff-ful fi-fin fj-fij fo-fao fr-fra \
    fy-fry ga-gle gd-gla gl-glg gn-grn gu-guj gv-glv ha-hau he-heb hi-hin ho-hmo hr-hrv ht-hat hu-hun hy-hye hz-her \
    ia-ina id-ind ie-ile ig-ibo ii-iii ik-ipk io-ido is-isl it-ita iu-iku ja-jpn jv-jav ka-kat kg-kon ki-kik kj-kua \
    kk-kaz kl-kal km-khm kn-kan ko-kor kr-kau ks-kas ku-kur kv-kom kw-cor ky-kir la-lat lb-ltz lg-lug li-lim ln-lin \
    lo-lao lt-lit lu-lub lv-lav mg-mlg mh-mah mi-mri mk-mkd ml-mal mn-mon mr-mar ms-msa mt-mlt my-mya na-nau nb-nob \
    nd-nde ne-nep ng-ndo nl-nld nn-nno no-nor nr-nbl nv-nav ny-nya oc-oci oj-oji om-orm or-ori os-oss pa-pan pi-pli \
    pl-pol ps-pus pt-por qu-que rm-roh rn-run ro-ron ru-rus rw-kin sa-san sc-srd sd-snd se-sme sg-sag si-sin sk-slk \
    sl-slv sm-smo sn-sna so-som sq-sqi sr-srp ss-ssw st-sot su-sun sv-swe sw-swa ta-tam te-tel tg-tgk th-tha ti-tir \
    tk-tuk tl-tgl tn-tsn to-ton tr-tur ts-tso tt-tat tw-twi ty-tah ug-uig uk-ukr ur-urd uz-uzb ve-ven vi-vie vo-vol \
    wa-wln wo-wol xh-xho yi-yid yo-yor za-zha zh-zho zu-zul";

/// Other codes of three letters (ISO 639-2/B) that files have, and those meant.
const BIBLIOGRAPHIC: &str = "\
    tib-bod cze-ces wel-cym ger-deu gre-ell baq-eus per-fas fre-fra arm-hye ice-isl geo-kat mao-mri mac-mkd may-msa \
    bur-mya dut-nld rum-ron slo-slk alb-sqi chi-zho";

/// A tag as RFC 5646 §2.2.1 wants it: of two letters where there are such, in lower case, and what follows as it is.
#[must_use]
pub fn tag(tag: &str) -> String {
    let (language, rest) = tag.split_at(tag.find('-').unwrap_or(tag.len()));
    let language = language.to_ascii_lowercase();
    let terminology = pairs(BIBLIOGRAPHIC).find(|(b, _)| *b == language).map_or(&*language, |(_, t)| t);
    let short = pairs(CODES).find(|(_, three)| *three == terminology).map_or(terminology, |(two, _)| two);
    format!("{short}{rest}")
}

/// The three letters (ISO 639-2/T) of a tag's language, whatever follows it; `None` for what has none.
#[must_use]
pub fn three_letters(of: &str) -> Option<String> {
    let tag = tag(of);
    let language = tag.split('-').next().unwrap_or_default();
    let is_three = language.len() == 3 && language.bytes().all(|b| b.is_ascii_lowercase());
    let long = pairs(CODES).find(|(two, _)| *two == language).map(|(_, three)| three);
    long.or(Some(language).filter(|_| is_three)).map(str::to_owned)
}

fn pairs(codes: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    codes.split(' ').filter_map(|pair| pair.split_once('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_has_two_letters_in_tags_and_three_in_boxes() {
        let both = |of: &str| (tag(of), three_letters(of).unwrap_or_default());
        let expected = |tag: &str, three: &str| (tag.to_owned(), three.to_owned());
        assert_eq!(both("de"), expected("de", "deu"));
        assert_eq!(both("DEU"), expected("de", "deu"));
        assert_eq!(both("ger-AT"), expected("de-AT", "deu"), "what libraries call it");
        assert_eq!(both("zh-Hant"), expected("zh-Hant", "zho"));
        assert_eq!(both("yue"), expected("yue", "yue"), "which has no two");
        assert_eq!(both("und"), expected("und", "und"));
        for odd in ["x-klingon", "", "-", "qq", "d\u{e9}", "deutsch"] {
            assert_eq!(both(odd), expected(odd, ""));
        }
    }

    #[test]
    fn every_code_is_one_and_stands_once() {
        let mut all: Vec<&str> = pairs(CODES).flat_map(|(two, three)| [two, three]).collect();
        all.extend(pairs(BIBLIOGRAPHIC).map(|(b, _)| b));
        assert_eq!(all.len(), 2 * 184 + 20);
        assert!(all.iter().all(|code| (2..=3).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_lowercase())));
        assert!(pairs(BIBLIOGRAPHIC).all(|(_, t)| pairs(CODES).any(|(_, three)| three == t)));
        all.sort_unstable();
        assert!(all.windows(2).all(|w| w[0] != w[1]));
    }
}
